export type Language = 'fr' | 'en';

/** `?lang=` wins, then the browser's wish; French when neither says English. */
export function chooseLanguage(search: string, browserLanguage: string): Language {
  const asked = new URLSearchParams(search).get('lang') ?? browserLanguage;
  return asked.toLowerCase().startsWith('en') ? 'en' : 'fr';
}
