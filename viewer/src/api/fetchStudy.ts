import type { DicomJson } from '../study/DicomJson';
import { readText } from '../study/readText';
import { TAG } from '../study/tags';
import { requestDicomJson } from './requestDicomJson';

/** QIDO-RS: the attributes of one study, patient included; empty when the node does not list it (yet). */
export async function fetchStudy(root: string, studyUid: string): Promise<DicomJson> {
  const list = await requestDicomJson(`${root}/studies?StudyInstanceUID=${studyUid}&includefield=StudyDescription`);
  // Never another patient's name over these images, whatever a node or a proxy in between answers.
  return list.find((study) => readText(study, TAG.studyUid) === studyUid) ?? {};
}
