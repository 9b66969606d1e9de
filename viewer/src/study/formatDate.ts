/** A DA, DT or HL7 date (YYYYMMDD…) for people in France and Europe: 23/11/2026. What is not a date is shown as it is. */
export function formatDate(date: string): string {
  const match = /^(\d{4})[-.]?(\d{2})[-.]?(\d{2})/.exec(date);
  return match ? `${match[3]}/${match[2]}/${match[1]}` : date;
}
