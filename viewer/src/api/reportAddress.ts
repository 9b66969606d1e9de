/** Where the report of an exam held here can be read: a PDF, a picture, or a page of its own. */
export function reportAddress(studyUid: string): string {
  return `/api/v1/studies/${studyUid}/report`;
}
