/** Wait, as a server asked us to. */
export function pause(duration_s: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, duration_s * 1000));
}
