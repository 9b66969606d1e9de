import { buildProblem } from './buildProblem';
import { Problem } from './Problem';

const DEADLINE_MS = 60_000;

/** Ask our own node; give the answer if it is a success, else throw a Problem. */
export async function request(url: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: 'same-origin', signal: AbortSignal.timeout(DEADLINE_MS), ...init });
  } catch {
    throw new Problem(0);
  }
  if (!response.ok) {
    throw buildProblem(response.status, response.headers.get('Retry-After'), await response.text().catch(() => ''));
  }
  return response;
}
