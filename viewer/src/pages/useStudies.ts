import { useEffect, useState } from 'preact/hooks';
import type { Progress } from '../api/fetchProgress';
import type { Address } from '../study/readAddress';
import type { Study } from '../study/Study';
import { describeProblem, type Notice } from './describeProblem';
import { watchStudy } from './watchStudy';

/** How far the reading of one study has come. */
export interface StudyState {
  studyUid: string;
  study?: Study;
  progress?: Progress;
  wait_s?: number;
  notice?: Notice;
}

/** The studies of the address, read and, on a visit, followed while they land. `retry` starts again. */
export function useStudies(address: Address): { studies: StudyState[]; retry: () => void } {
  const [attempt, setAttempt] = useState(0);
  const [studies, setStudies] = useState<StudyState[]>(() => address.studyUids.map((studyUid) => ({ studyUid })));
  useEffect(() => {
    const stop = new AbortController();
    const update = (state: StudyState) => {
      if (stop.signal.aborted) return;
      setStudies((all) => all.map((one) => (one.studyUid === state.studyUid ? state : one)));
    };
    for (const studyUid of address.studyUids) {
      let latest: StudyState = { studyUid };
      const change = (part: Partial<StudyState>) => {
        latest = { ...latest, ...part };
        update(latest);
      };
      change({});
      const listener = {
        onStudy: (study: Study) => change({ study, wait_s: 0 }),
        onWait: (wait_s: number) => change({ wait_s }),
        onProgress: (progress: Progress) => change({ progress }),
      };
      watchStudy(studyUid, address.visit, listener, stop.signal).catch((error: unknown) =>
        change({ notice: describeProblem(error) }),
      );
    }
    return () => stop.abort();
  }, [address, attempt]);
  return { studies, retry: () => setAttempt(attempt + 1) };
}
