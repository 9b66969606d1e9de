import type { DicomJson } from '../study/DicomJson';
import { requestDicomJson } from './requestDicomJson';

/** QIDO-RS: the attributes of one study, patient included; empty when the node does not list it (yet). */
export async function fetchStudy(root: string, studyUid: string): Promise<DicomJson> {
  const list = await requestDicomJson(`${root}/studies?StudyInstanceUID=${studyUid}&includefield=StudyDescription`);
  return list[0] ?? {};
}
