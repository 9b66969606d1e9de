import { Problem } from './Problem';
import { pause } from './pause';

const PATIENCE_S = 300;
const LONGEST_WAIT_S = 15;

/**
 * Ask until the node is ready. 503 means "not yet" and says when to come back; while a visit starts, 404 may mean the
 * same (`notFoundIsEarly`). `onWait` hears of each wait. Throws the last Problem when patience ends.
 */
export async function askPatiently<T>(
  ask: () => Promise<T>,
  onWait: (wait_s: number) => void,
  notFoundIsEarly = false,
): Promise<T> {
  for (let waited_s = 0; ; ) {
    try {
      return await ask();
    } catch (error) {
      const early = error instanceof Problem && (error.status === 503 || (notFoundIsEarly && error.status === 404));
      // A 503 without Retry-After is a node that lacks something, not one that asks for patience.
      const patience_s = early && (error.retryAfter_s > 0 || error.status === 404) ? PATIENCE_S : 10;
      if (!early || waited_s >= patience_s) throw error;
      const wait_s = Math.min(error.retryAfter_s || 2, LONGEST_WAIT_S);
      onWait(wait_s);
      await pause(wait_s);
      waited_s += wait_s;
    }
  }
}
