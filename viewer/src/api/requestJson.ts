import { Problem } from './Problem';
import { request } from './request';

/** GET a JSON document. 204 is an empty list: QIDO-RS answers so when nothing matches. */
export async function requestJson(url: string, accept = 'application/json', init: RequestInit = {}): Promise<unknown> {
  const response = await request(url, { ...init, headers: { Accept: accept, ...init.headers } });
  if (response.status === 204) return [];
  try {
    return await response.json();
  } catch {
    throw new Problem(502, 'JSON');
  }
}
