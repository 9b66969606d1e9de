import { askPatiently } from '../api/askPatiently';
import { fetchInstances } from '../api/fetchInstances';
import { listFrames } from '../study/listFrames';
import { readText } from '../study/readText';
import type { Series } from '../study/Series';
import { TAG } from '../study/tags';
import { registerMetadata } from '../viewport/registerMetadata';
import { completePalettes } from './completePalettes';
import type { Stack } from './Stack';

/** On a visit the metadata waits for the whole series to land. */
const PATIENCE_S = 300;

const loaded = new Map<string, Promise<Stack>>();

/** Fetch the metadata of a series and list its frames. Kept, so that thumbnail and viewport share one request. */
export function loadStack(root: string, series: Series): Promise<Stack> {
  // The count is part of the key: a series that is still landing is read again when it has grown.
  const key = `${root} ${series.seriesUid} ${series.instances}`;
  const known = loaded.get(key);
  if (known) return known;
  const stack = readStack(root, series);
  loaded.set(key, stack);
  stack.catch(() => loaded.delete(key));
  return stack;
}

async function readStack(root: string, series: Series): Promise<Stack> {
  const ask = () => fetchInstances(root, series.studyUid, series.seriesUid);
  const instances = await askPatiently(ask, () => undefined, PATIENCE_S);
  await Promise.all(instances.map(completePalettes));
  const frames = listFrames(root, series.studyUid, instances);
  registerMetadata(frames, instances);
  return { frames, instances: new Map(instances.map((instance) => [readText(instance, TAG.sopUid), instance])) };
}
