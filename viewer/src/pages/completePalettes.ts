import { fetchBulkdata } from '../api/fetchBulkdata';
import type { Attribute, DicomJson } from '../study/DicomJson';
import { decodePalette } from '../study/decodePalette';
import { expandSegments } from '../study/expandSegments';
import { readNumbers } from '../study/readNumbers';
import { TAG } from '../study/tags';

/** The decoder wants palettes as numbers; the metadata gives them as bytes, inline or to be fetched, or as segments. */
export async function completePalettes(instance: DicomJson): Promise<void> {
  await Promise.all(
    TAG.paletteData.map(async (tag, index) => {
      if (instance[tag]?.Value) return;
      const descriptor = readNumbers(instance, TAG.paletteDescriptors[index] ?? '', 3);
      const plain = await readBytes(instance[tag]);
      const segments = await readBytes(instance[TAG.paletteSegments[index] ?? '']);
      if (plain && descriptor.length) instance[tag] = { vr: 'OW', Value: decodePalette(plain, descriptor) };
      else if (segments) instance[tag] = { vr: 'OW', Value: expandSegments(segments) };
    }),
  );
}

async function readBytes(attribute: Attribute | undefined): Promise<Uint8Array | undefined> {
  if (attribute?.InlineBinary) {
    return Uint8Array.from(atob(attribute.InlineBinary), (character) => character.charCodeAt(0));
  }
  // One palette that does not come must not take the other images of the series with it: its own image will say so.
  return attribute?.BulkDataURI ? fetchBulkdata(attribute.BulkDataURI).catch(() => undefined) : undefined;
}
