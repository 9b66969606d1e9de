import type { fr } from './fr';

/** French is written first; another language has the same keys, checked by the compiler. */
export type Words = Record<keyof typeof fr, string>;
export type WordKey = keyof Words;
