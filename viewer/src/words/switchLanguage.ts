/** The address of this same page in the other language. */
export function switchLanguage(search: string, current: 'fr' | 'en'): string {
  const query = new URLSearchParams(search);
  query.set('lang', current === 'fr' ? 'en' : 'fr');
  return `?${query}`;
}
