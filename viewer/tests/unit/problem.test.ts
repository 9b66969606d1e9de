import { expect, test, vi } from 'vitest';
import { askPatiently } from '../../src/api/askPatiently';
import { buildProblem } from '../../src/api/buildProblem';
import { Problem } from '../../src/api/Problem';
import { describeImageFailure } from '../../src/pages/describeImageFailure';
import { describeProblem } from '../../src/pages/describeProblem';

vi.mock('../../src/api/pause', () => ({ pause: () => Promise.resolve() }));

test('a problem document is read', () => {
  const body = JSON.stringify({ title: 'Denied', detail: 'policy: x', incident: 'a1b2', status: 403 });
  const problem = buildProblem(403, null, body);
  expect(problem).toMatchObject({ status: 403, title: 'Denied', detail: 'policy: x', incident: 'a1b2' });
});

test.each([
  ['7', 7],
  [null, 0],
  ['-3', 0],
  ['Wed, 21 Oct 2026 07:28:00 GMT', 0],
])('Retry-After %j is %d seconds', (header, expected) => {
  expect(buildProblem(503, header, '').retryAfter_s).toBe(expected);
});

test.each(['', '<html>proxy</html>', 'null', '[]', '{"title": 3, "detail": {}}'])(
  'body %j gives a bare problem',
  (body) => {
    expect(buildProblem(502, null, body)).toMatchObject({ status: 502, title: '', detail: '', incident: '' });
  },
);

test.each([0, 400, 401, 403, 404, 406, 410, 413, 500, 502, 503, 507])(
  'status %d has a title and a detail',
  (status) => {
    const notice = describeProblem(new Problem(status));
    expect(notice.title).not.toBe('');
    expect(notice.detail).not.toBe('');
  },
);

test('an absent image is told from an unreadable one', () => {
  const missing = describeImageFailure(new Problem(404)).title;
  expect(describeImageFailure(new Problem(410)).title).toBe(missing);
  expect(describeImageFailure(new Error('decoder')).title).not.toBe(missing);
  expect(describeImageFailure(new Error('decoder')).note).toBe('decoder');
});

test('503 with Retry-After is asked again', async () => {
  const waits: number[] = [];
  let calls = 0;
  const ask = async () => {
    calls += 1;
    if (calls < 3) throw new Problem(503, '', '', '', 4);
    return 'here';
  };
  await expect(askPatiently(ask, (wait_s) => waits.push(wait_s), 60)).resolves.toBe('here');
  expect(waits).toEqual([4, 4]);
});

test.each([401, 403, 404, 500])('%d is not asked again', async (status) => {
  let calls = 0;
  const ask = async () => {
    calls += 1;
    throw new Problem(status);
  };
  await expect(askPatiently(ask, () => undefined, 60)).rejects.toMatchObject({ status });
  expect(calls).toBe(1);
});

test('patience ends', async () => {
  let waited_s = 0;
  const ask = async () => {
    throw new Problem(503, '', '', '', 10);
  };
  const asked = askPatiently(
    ask,
    (wait_s) => {
      waited_s += wait_s;
    },
    300,
  );
  await expect(asked).rejects.toMatchObject({ status: 503 });
  expect(waited_s).toBe(300);
});
