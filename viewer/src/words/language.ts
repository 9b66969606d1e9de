import { chooseLanguage } from './chooseLanguage';

/** The language of this page, fixed when it loads. */
export const language = chooseLanguage(globalThis.location?.search ?? '', globalThis.navigator?.language ?? '');
