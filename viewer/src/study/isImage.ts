import type { DicomJson } from './DicomJson';
import { readNumber } from './readNumber';
import { readText } from './readText';
import { TAG } from './tags';

// PS3.6 annex A: MPEG2, MPEG-4 AVC, HEVC: one fragment holds the whole video, there is no frame to ask for.
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.|$)/;

/** Whether the instance has pictures that can be asked for frame by frame. */
export function isImage(instance: DicomJson): boolean {
  return (
    readNumber(instance, TAG.rows, 0) > 0 &&
    readNumber(instance, TAG.columns, 0) > 0 &&
    !VIDEO.test(readText(instance, TAG.availableTransferSyntax))
  );
}
