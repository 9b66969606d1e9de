import { fetchBulkdata } from '../api/fetchBulkdata';
import type { DicomJson } from '../study/DicomJson';
import { decodePalette } from '../study/decodePalette';
import { readNumbers } from '../study/readNumbers';
import { TAG } from '../study/tags';

/** The decoder wants palettes as numbers; the metadata gives them as bytes, inline or to be fetched. */
export async function completePalettes(instance: DicomJson): Promise<void> {
  await Promise.all(
    TAG.paletteData.map(async (tag, index) => {
      const attribute = instance[tag];
      if (!attribute || attribute.Value) return;
      const descriptor = readNumbers(instance, TAG.paletteDescriptors[index] ?? '', 3);
      const bytes = attribute.InlineBinary
        ? Uint8Array.from(atob(attribute.InlineBinary), (character) => character.charCodeAt(0))
        : attribute.BulkDataURI && (await fetchBulkdata(attribute.BulkDataURI));
      if (bytes && descriptor.length) attribute.Value = decodePalette(bytes, descriptor);
    }),
  );
}
