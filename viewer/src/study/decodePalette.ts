/**
 * The entries of a palette from its bytes, PS3.3 §C.7.6.3.1.6. `descriptor` is (entries, first mapped, bits). Entries are
 * 16-bit words; some writers pack 8-bit entries two in a word, which shows in the length.
 */
export function decodePalette(bytes: Uint8Array, descriptor: readonly number[]): number[] {
  const entries = descriptor[0] || 65536; // 0 means 2^16, PS3.3 §C.7.6.3.1.5
  if (bytes.length < entries * 2) return Array.from(bytes.subarray(0, entries));
  const view = new DataView(bytes.buffer, bytes.byteOffset, entries * 2);
  return Array.from({ length: entries }, (_, index) => view.getUint16(index * 2, true));
}
