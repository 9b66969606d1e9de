import type { DicomJson } from '../study/DicomJson';
import { requestDicomJson } from './requestDicomJson';

export interface StudyCriteria {
  patientName: string;
  patientId: string;
  /** One day, as an `<input type="date">` gives it: 2026-11-23, or empty. */
  date: string;
}

export const MOST_STUDIES = 50;

/** QIDO-RS: studies held here that match, at most MOST_STUDIES. */
export function findStudies(criteria: StudyCriteria): Promise<DicomJson[]> {
  const query = new URLSearchParams();
  const name = criteria.patientName.trim();
  if (name) query.set('PatientName', name.includes('*') ? name : `${name}*`);
  if (criteria.patientId.trim()) query.set('PatientID', criteria.patientId.trim());
  if (criteria.date) query.set('StudyDate', criteria.date.replaceAll('-', ''));
  query.set('limit', String(MOST_STUDIES));
  for (const field of ['StudyDescription', 'ModalitiesInStudy', 'NumberOfStudyRelatedInstances']) {
    query.append('includefield', field);
  }
  return requestDicomJson(`/dicom-web/studies?${query}`);
}
