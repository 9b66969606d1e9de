const TWO = (n: number) => String(n).padStart(2, '0');

/** A moment in seconds since 1970, in the local time of the reader: 23/11/2026 14:05. Empty for zero: no moment. */
export function formatMoment(seconds: number): string {
  if (!seconds) return '';
  const at = new Date(seconds * 1000);
  return `${TWO(at.getDate())}/${TWO(at.getMonth() + 1)}/${at.getFullYear()} ${TWO(at.getHours())}:${TWO(at.getMinutes())}`;
}
