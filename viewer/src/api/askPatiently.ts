import { Problem } from './Problem';
import { pause } from './pause';

const LONGEST_WAIT_S = 15;

/**
 * Ask until the node is ready. 503 means "not yet" and says when to come back. `onWait` hears of each wait. Throws
 * anything else at once, and the last Problem when `patience_s` is spent.
 */
export async function askPatiently<T>(
  ask: () => Promise<T>,
  onWait: (wait_s: number) => void,
  patience_s: number,
): Promise<T> {
  for (let waited_s = 0; ; ) {
    try {
      return await ask();
    } catch (error) {
      const isEarly = error instanceof Problem && error.status === 503;
      if (!isEarly || waited_s >= patience_s) throw error;
      const wait_s = Math.min(error.retryAfter_s || 2, LONGEST_WAIT_S);
      onWait(wait_s);
      await pause(wait_s);
      waited_s += wait_s;
    }
  }
}
