import { cache, Enums, imageLoader, imageLoadPoolManager } from '@cornerstonejs/core';

/** Enough for the usual CT series; beyond, frames load as one scrolls. */
const MOST_FRAMES = 400;

/** Load the rest of a stack in the background, nearest frames first. Replaces what an earlier call still has to load. */
export function prefetch(imageIds: readonly string[], fromIndex: number): void {
  const type = Enums.RequestType.Prefetch;
  imageLoadPoolManager.clearRequestStack(type);
  const byDistance = imageIds
    .map((imageId, index) => ({ imageId, distance: Math.abs(index - fromIndex) }))
    .filter(({ imageId }) => !cache.isLoaded(imageId))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, MOST_FRAMES);
  for (const { imageId, distance } of byDistance) {
    const load = async () => {
      // A failure is shown when the frame is asked for; here it only means that it is not ready early.
      await imageLoader.loadAndCacheImage(imageId, { requestType: type, priority: distance }).catch(() => undefined);
    };
    imageLoadPoolManager.addRequest(load, type, { imageId }, distance);
  }
}
