import { askPatiently } from '../api/askPatiently';
import { fetchProgress, type Progress } from '../api/fetchProgress';
import { fetchSeries } from '../api/fetchSeries';
import { fetchStudy } from '../api/fetchStudy';
import { pause } from '../api/pause';
import { dicomwebRoot } from '../study/dicomwebRoot';
import { readStudy } from '../study/readStudy';
import type { Study } from '../study/Study';

const POLL_S = 2;
/** Images on loan come through another DRIMbox and its PACS; our own archive answers at once or is in trouble. */
const VISIT_PATIENCE_S = 600;
const OWN_PATIENCE_S = 20;

export interface StudyListener {
  onStudy(study: Study): void;
  onWait(wait_s: number): void;
  onProgress(progress: Progress): void;
}

/**
 * Read the series of a study; on a visit, follow how far the images have come, and read the series again until all
 * have landed or are known to be missing. Throws a Problem when the study cannot be read.
 */
export async function watchStudy(
  studyUid: string,
  visit: string,
  listener: StudyListener,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    // Asked before the series are: if it was complete then, what is read next is all there is.
    const isComplete = await follow(visit, listener);
    const reading = readOnce(studyUid, visit, listener);
    let study: Study | undefined;
    while (!study && !stop.aborted) {
      study = await Promise.race([reading, pause(POLL_S).then(() => undefined)]);
      if (!study) await follow(visit, listener);
    }
    if (study) listener.onStudy(study);
    if (isComplete) return;
    await pause(POLL_S);
  }
}

async function readOnce(studyUid: string, visit: string, listener: StudyListener): Promise<Study> {
  const root = dicomwebRoot(visit);
  const patience_s = visit ? VISIT_PATIENCE_S : OWN_PATIENCE_S;
  const list = await askPatiently(() => fetchSeries(root, studyUid), listener.onWait, patience_s);
  // The patient's name may not be among the attributes of series; without it the series are shown all the same.
  const about = await fetchStudy(root, studyUid).catch(() => ({}));
  return readStudy(studyUid, about, list);
}

/** Tell how far a visit has come; true when there is nothing more to wait for, or no way to know. */
async function follow(visit: string, listener: StudyListener): Promise<boolean> {
  if (!visit) return true;
  try {
    const progress = await fetchProgress(visit);
    listener.onProgress(progress);
    return progress.complete;
  } catch {
    return true; // the series themselves will say what is wrong
  }
}
