import type { DicomJson } from './DicomJson';

/** The first value as text, empty when there is none. A person's name gives its alphabetic form, as stored. */
export function readText(dataSet: DicomJson, tag: string): string {
  const value = dataSet[tag]?.Value?.[0];
  if (typeof value === 'string') return value.trim();
  if (typeof value === 'number') return String(value);
  if (typeof value === 'object' && value !== null) {
    const name = value as { Alphabetic?: unknown; Ideographic?: unknown };
    const text = name.Alphabetic ?? name.Ideographic;
    return typeof text === 'string' ? text.trim() : '';
  }
  return '';
}
