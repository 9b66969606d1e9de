import { withLanguage } from '../words/withLanguage';

/** Where the viewer shows a study; with a visit, from what is on loan. */
export function viewerAddress(studyUid: string, visit = ''): string {
  const query = new URLSearchParams({ StudyInstanceUIDs: studyUid, ...(visit && { visit }) });
  return withLanguage(`/viewer/?${query}`);
}
