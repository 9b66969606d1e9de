import { wadors } from '@cornerstonejs/dicom-image-loader';
import type { DicomJson } from '../study/DicomJson';
import type { Frame } from '../study/Frame';
import { readText } from '../study/readText';
import { TAG } from '../study/tags';

/** Tell the decoder what it must know of each instance. It finds the later frames from the first. */
export function registerMetadata(frames: readonly Frame[], instances: readonly DicomJson[]): void {
  const bySopUid = new Map(instances.map((instance) => [readText(instance, TAG.sopUid), instance]));
  for (const frame of frames) {
    const instance = bySopUid.get(frame.sopUid);
    if (frame.frameNumber === 1 && instance) {
      wadors.metaDataManager.add(frame.imageId, instance as Parameters<typeof wadors.metaDataManager.add>[1]);
    }
  }
}
