/** What went wrong at the server, in its own words (RFC 9457) when it gave any. `status` 0: no answer came at all. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title = '',
    readonly detail = '',
    readonly incident = '',
    readonly retryAfter_s = 0,
  ) {
    super(`${status} ${title}`.trim());
    this.name = 'Problem';
  }
}
