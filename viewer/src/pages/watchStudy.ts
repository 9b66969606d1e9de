import { askPatiently } from '../api/askPatiently';
import { fetchSeries } from '../api/fetchSeries';
import { fetchStudy } from '../api/fetchStudy';
import { pause } from '../api/pause';
import { dicomwebRoot } from '../study/dicomwebRoot';
import { readStudy } from '../study/readStudy';
import type { Study } from '../study/Study';

/** A visit is taken as complete when nothing new has come for this long. */
const QUIET_MS = 20_000;
const POLL_S = 2;

export interface StudyListener {
  onStudy(study: Study, isLanding: boolean): void;
  onWait(wait_s: number): void;
}

/**
 * Read the series of a study; on a visit, read them again while images still land. Ends when nothing more comes or
 * `stop` is aborted; throws a Problem when the study cannot be read.
 */
export async function watchStudy(
  studyUid: string,
  visit: string,
  listener: StudyListener,
  stop: AbortSignal,
): Promise<void> {
  const root = dicomwebRoot(visit);
  let held = -1;
  for (let grownAt = performance.now(); !stop.aborted; await pause(POLL_S)) {
    const list = await askPatiently(() => fetchSeries(root, studyUid), listener.onWait, Boolean(visit));
    // The patient's name may not be among the attributes of series; without it the series are shown all the same.
    const about = await fetchStudy(root, studyUid).catch(() => ({}));
    if (stop.aborted) return;
    const study = readStudy(studyUid, about, list);
    const count = study.series.reduce((sum, series) => sum + 1 + series.instances, 0);
    if (count !== held) grownAt = performance.now();
    held = count;
    const isLanding = Boolean(visit) && performance.now() - grownAt < QUIET_MS;
    listener.onStudy(study, isLanding);
    if (!isLanding) return;
  }
}
