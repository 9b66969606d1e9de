import { reportAddress } from './reportAddress';
import { request } from './request';

/** Resolves when there is a report to show; throws the Problem that says why there is none. */
export async function checkReport(studyUid: string): Promise<true> {
  await request(reportAddress(studyUid), { method: 'HEAD' });
  return true;
}
