/** Where the report of an exam can be read, a PDF, a picture or a page of its own: held here, or asked of the record. */
export function reportAddress(studyUid: string, visit: string): string {
  return visit ? `/api/v1/visits/${encodeURIComponent(visit)}/report` : `/api/v1/studies/${studyUid}/report`;
}
