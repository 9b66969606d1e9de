import { mayHaveImages } from './mayHaveImages';
import type { Series } from './Series';

/** Series with images first, then by Series Number, then by UID so that the order never changes between two visits. */
export function sortSeries(series: readonly Series[]): Series[] {
  return [...series].sort(
    (a, b) =>
      Number(mayHaveImages(b)) - Number(mayHaveImages(a)) ||
      (a.seriesNumber ?? Number.MAX_SAFE_INTEGER) - (b.seriesNumber ?? Number.MAX_SAFE_INTEGER) ||
      (a.seriesUid < b.seriesUid ? -1 : 1),
  );
}
