import type { DicomJson } from '../study/DicomJson';
import { requestDicomJson } from './requestDicomJson';

/** WADO-RS: the metadata of every instance of a series, PS3.18 §10.4.1.1.2. */
export function fetchInstances(root: string, studyUid: string, seriesUid: string): Promise<DicomJson[]> {
  return requestDicomJson(`${root}/studies/${studyUid}/series/${seriesUid}/metadata`);
}
