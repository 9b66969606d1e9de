import type { DicomJson } from './DicomJson';

/** All values as numbers; empty unless there are exactly `count` of them. */
export function readNumbers(dataSet: DicomJson, tag: string, count: number): number[] {
  const numbers = (dataSet[tag]?.Value ?? []).map(Number);
  return numbers.length === count && numbers.every(Number.isFinite) ? numbers : [];
}
