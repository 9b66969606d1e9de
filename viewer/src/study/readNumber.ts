import type { DicomJson } from './DicomJson';

/** The first value as a number; `absent` when there is none or it is not one. IS and DS may come as text. */
export function readNumber(dataSet: DicomJson, tag: string, absent: number): number {
  const value = dataSet[tag]?.Value?.[0];
  if (value === undefined || value === null || value === '') return absent;
  const number = Number(value);
  return Number.isFinite(number) ? number : absent;
}
