/** An address of ours, carrying on the language that was chosen by `?lang=`. */
export function withLanguage(address: string, search: string = location.search): string {
  const chosen = new URLSearchParams(search).get('lang');
  if (chosen !== 'fr' && chosen !== 'en') return address;
  return `${address}${address.includes('?') ? '&' : '?'}lang=${chosen}`;
}
