import { fr } from './fr';
import { say } from './say';
import type { WordKey } from './Words';

/** The words for a key made of a prefix and a code (`kind_` + `KO`), or `otherwise` when we have none for that code. */
export function sayIfKnown(prefix: string, code: string, otherwise: string): string {
  const key = prefix + code;
  return Object.hasOwn(fr, key) ? say(key as WordKey) : otherwise;
}
