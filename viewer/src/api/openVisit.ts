import { requestJson } from './requestJson';

export interface Visit {
  visit_id: string;
  study_uid: string;
  dicomweb_url: string;
}

/** Ask for the images of a document: they start to land in the visiting archive. */
export async function openVisit(documentId: string): Promise<Visit> {
  const init = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ document_id: documentId }),
  };
  return (await requestJson('/api/v1/visits', 'application/json', init)) as Visit;
}
