import type { DicomJson } from './DicomJson';
import { readNumber } from './readNumber';
import { readText } from './readText';
import { TAG } from './tags';

/**
 * Why the decoder could not show this image, empty when it should manage. It must be asked first: given these, it
 * draws black or never answers.
 */
export function whyUnreadable(instance: DicomJson): string {
  const samples = readNumber(instance, TAG.samplesPerPixel, 1);
  const bits = readNumber(instance, TAG.bitsAllocated, 0);
  if (samples > 1 && bits !== 8) return `${samples} × ${bits} bits`;
  if (samples === 1 && bits !== 8 && bits !== 16) return `${bits} bits`;
  const isPalette = readText(instance, TAG.photometricInterpretation) === 'PALETTE COLOR';
  return isPalette && !TAG.paletteData.every((tag) => instance[tag]?.Value) ? 'PALETTE COLOR' : '';
}
