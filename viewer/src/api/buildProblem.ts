import { Problem } from './Problem';

/** Turn an answer that is not a success into a Problem. `body` may be anything: a proxy's HTML page must not be shown. */
export function buildProblem(status: number, retryAfter: string | null, body: string): Problem {
  const seconds = Number(retryAfter ?? 0);
  const wait_s = Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
  let fields: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null) fields = parsed as Record<string, unknown>;
  } catch {
    // Not a problem document: the status alone has to speak.
  }
  const text = (key: string) => (typeof fields[key] === 'string' ? (fields[key] as string).slice(0, 300) : '');
  return new Problem(
    status,
    text('title'),
    text('detail'),
    text('incident') || text('incident_id') || text('instance'),
    wait_s,
  );
}
