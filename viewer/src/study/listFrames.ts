import type { DicomJson } from './DicomJson';
import type { Frame } from './Frame';
import { isImage } from './isImage';
import { readNumber } from './readNumber';
import { readText } from './readText';
import { sortInstances } from './sortInstances';
import { TAG } from './tags';

/** A hostile Number of Frames must not eat the browser's memory; the largest real cine runs have a few thousand. */
const MOST_FRAMES = 20_000;

/** The stack of a series: one Cornerstone image id ("wadors:" + WADO-RS frame address) for each frame, in reading order. */
export function listFrames(root: string, studyUid: string, instances: readonly DicomJson[]): Frame[] {
  const frames: Frame[] = [];
  for (const instance of sortInstances(instances.filter(isImage))) {
    const seriesUid = readText(instance, TAG.seriesUid);
    const sopUid = readText(instance, TAG.sopUid);
    const count = Math.max(1, readNumber(instance, TAG.numberOfFrames, 1));
    for (let frameNumber = 1; frameNumber <= count && frames.length < MOST_FRAMES; frameNumber++) {
      const imageId = `wadors:${root}/studies/${studyUid}/series/${seriesUid}/instances/${sopUid}/frames/${frameNumber}`;
      frames.push({ imageId, sopUid, frameNumber });
    }
  }
  return frames;
}
