import type { DicomJson } from '../study/DicomJson';
import { requestDicomJson } from './requestDicomJson';

/** QIDO-RS: the series of a study, PS3.18 §10.6. */
export function fetchSeries(root: string, studyUid: string): Promise<DicomJson[]> {
  return requestDicomJson(`${root}/studies/${studyUid}/series?includefield=all`);
}
