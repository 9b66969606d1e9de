/** A PN value for people: DUPONT^Jean^Marie -> "DUPONT Jean Marie", PS3.5 §6.2.1. */
export function formatName(name: string): string {
  const [family = '', given = '', middle = '', prefix = '', suffix = ''] = (name.split('=')[0] ?? '').split('^');
  return [prefix, family, given, middle, suffix]
    .map((part) => part.trim())
    .filter(Boolean)
    .join(' ');
}
