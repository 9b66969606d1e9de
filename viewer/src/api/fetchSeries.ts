import type { DicomJson } from '../study/DicomJson';
import { requestDicomJson } from './requestDicomJson';

/** A page of a search is short by default; a study may have hundreds of series. */
const MOST_SERIES = 1000;

/** QIDO-RS: the series of a study, PS3.18 §10.6. */
export function fetchSeries(root: string, studyUid: string): Promise<DicomJson[]> {
  return requestDicomJson(`${root}/studies/${studyUid}/series?limit=${MOST_SERIES}`);
}
