import { request } from './request';

/** Resolves when there is a report at this address; throws the Problem that says why there is none. */
export async function checkReport(address: string): Promise<true> {
  await request(address, { method: 'HEAD' });
  return true;
}
