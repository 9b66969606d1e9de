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
    if (frame.frameNumber !== 1 || !instance) continue;
    // A copy: the loader writes the values of the frame last asked for into the object it is given. Without a Modality
    // (type 1, yet seen missing) it fails half-way.
    const modality = { vr: 'CS', Value: [readText(instance, TAG.modality) || 'OT'] };
    const known = { ...instance, [TAG.modality]: modality } as Parameters<typeof wadors.metaDataManager.add>[1];
    wadors.metaDataManager.add(frame.imageId, known);
  }
}
