import { requestJson } from './requestJson';

/** An imaging examination that the DMP lists for a patient. */
export interface DmpDocument {
  document_id: string;
  title: string;
  created: string;
  study_uid: string;
  modalities: string[];
  regions: string[];
  description: string;
  author: string;
  /** Of whom it says it is: told where no patient was asked for. */
  patient?: string;
  birth_date?: string;
}

export async function findDocuments(ins: string): Promise<DmpDocument[]> {
  return (await requestJson(`/api/v1/patients/${encodeURIComponent(ins)}/documents`)) as DmpDocument[];
}
