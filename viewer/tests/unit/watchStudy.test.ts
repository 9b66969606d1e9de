import { beforeEach, expect, test, vi } from 'vitest';
import { Problem } from '../../src/api/Problem';
import { watchStudy } from '../../src/pages/watchStudy';

const node = vi.hoisted(() => ({ progress: [] as unknown[], series: [] as unknown[] }));
const next = (list: unknown[]) => {
  const answer = list.length > 1 ? list.shift() : list[0];
  return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
};
vi.mock('../../src/api/pause', () => ({ pause: () => new Promise((resolve) => setTimeout(resolve, 0)) }));
vi.mock('../../src/api/fetchProgress', () => ({ fetchProgress: () => next(node.progress) }));
vi.mock('../../src/api/fetchSeries', () => ({ fetchSeries: () => next(node.series) }));
vi.mock('../../src/api/fetchStudy', () => ({ fetchStudy: () => Promise.reject(new Problem(404)) }));

const series = (...uids: string[]) => uids.map((uid) => ({ '0020000E': { Value: [uid] } }));
const told: string[] = [];
const listener = {
  onStudy: (study: { series: { seriesUid: string }[] }) =>
    told.push(`series ${study.series.map((one) => one.seriesUid).join()}`),
  onWait: (wait_s: number) => told.push(`wait ${wait_s}`),
  onProgress: ({ landed }: { landed: number }) => told.push(`landed ${landed}`),
};
const progress = (landed: number, complete: boolean) => ({ expected: 9, landed, missing: 0, complete });

beforeEach(() => {
  told.length = 0;
});

test('what the node keeps is read once', async () => {
  node.series = [series('1', '2')];
  await watchStudy('9', '', listener, new AbortController().signal);
  expect(told).toEqual(['series 1,2']);
});

test('a visit is read again until it is complete', async () => {
  node.progress = [progress(1, false), progress(9, true)];
  node.series = [series('1'), series('1', '2')];
  await watchStudy('9', 'v', listener, new AbortController().signal);
  expect(told.filter((line) => line.startsWith('series'))).toEqual(['series 1', 'series 1,2']);
  expect(told).toContain('landed 9');
});

test('503 while images land is waited for', async () => {
  node.progress = [progress(9, true)];
  node.series = [new Problem(503, '', '', '', 5), series('1')];
  await watchStudy('9', 'v', listener, new AbortController().signal);
  expect(told).toContain('wait 5');
  expect(told.at(-1)).toBe('series 1');
});

test('a refusal ends it', async () => {
  node.progress = [new Problem(403)];
  node.series = [new Problem(403)];
  const watched = watchStudy('9', 'v', listener, new AbortController().signal);
  await expect(watched).rejects.toMatchObject({ status: 403 });
});

test('a page that closes ends it', async () => {
  const stop = new AbortController();
  stop.abort();
  await watchStudy('9', '', listener, stop.signal);
  expect(told).toEqual([]);
});
