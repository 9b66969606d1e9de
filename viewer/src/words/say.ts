import { en } from './en';
import { fr } from './fr';
import { language } from './language';
import type { WordKey, Words } from './Words';

const words: Words = { fr, en }[language];

/** The words for a key, with `{name}` replaced from `values`. */
export function say(key: WordKey, values: Record<string, string | number> = {}): string {
  return words[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
