/** A TM value (HHMMSS.FFFFFF) for people: 14:05. */
export function formatTime(time: string): string {
  const match = /^(\d{2}):?(\d{2})/.exec(time);
  return match ? `${match[1]}:${match[2]}` : '';
}
