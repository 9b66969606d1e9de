/** A table has 2^16 entries at most, PS3.3 §C.7.6.3.1.5: what asks for more is broken or hostile. */
const MOST_ENTRIES = 65_536;

/**
 * The entries of a segmented palette, PS3.3 §C.7.9.2: discrete segments (0, n, values), linear ones (1, n, last value,
 * from the value before) and indirect ones (2, segments, offset in bytes low and high word: segments to be copied).
 */
export function expandSegments(bytes: Uint8Array): number[] {
  const words = Array.from(
    { length: bytes.length >> 1 },
    (_, i) => (bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8),
  );
  const entries: number[] = [];
  const word = (at: number) => words[at] ?? 0;
  /** Expand the segment at `at`; gives where the next begins. Segments reached by copying may not copy in turn. */
  const expandOne = (at: number, mayCopy: boolean): number => {
    const length = word(at + 1);
    const room = MOST_ENTRIES - entries.length;
    if (word(at) === 0) {
      entries.push(...words.slice(at + 2, at + 2 + Math.min(length, room)));
      return at + 2 + length;
    }
    if (word(at) === 1) {
      const from = entries.at(-1) ?? 0;
      for (let i = 1; i <= Math.min(length, room); i++) {
        entries.push(Math.round(from + ((word(at + 2) - from) * i) / length));
      }
      return at + 3;
    }
    if (word(at) !== 2 || !mayCopy) return words.length;
    let copied = (word(at + 2) + word(at + 3) * 65_536) >> 1;
    for (let i = 0; i < length && copied < words.length; i++) copied = expandOne(copied, false);
    return at + 4;
  };
  for (let at = 0; at < words.length && entries.length < MOST_ENTRIES; ) at = expandOne(at, true);
  return entries;
}
