import type { Types } from '@cornerstonejs/core';
import { wadors } from '@cornerstonejs/dicom-image-loader';
import type { DicomJson } from '../study/DicomJson';
import { whyUnreadable } from '../study/whyUnreadable';
import { buildProblem } from './buildProblem';
import { Problem } from './Problem';
import { pause } from './pause';

const ATTEMPTS = 6;
const LONGEST_WAIT_S = 10;
/** Fetching and decoding one frame. The decoder does not answer at all for some broken images. */
const DEADLINE_S = 60;

/**
 * Fetch and decode one frame (the loader registered under "wadors"). A node that is still receiving the image says
 * 503 with Retry-After: ask again, a bounded number of times. Anything else that fails becomes a Problem, or the
 * decoder's own error.
 */
export function loadFrame(imageId: string, options?: Record<string, unknown>): { promise: Promise<Types.IImage> } {
  return { promise: loadPatiently(imageId, options) };
}

async function loadPatiently(imageId: string, options?: Record<string, unknown>): Promise<Types.IImage> {
  const reason = whyUnreadable((wadors.metaDataManager.get(imageId) ?? {}) as DicomJson);
  if (reason) throw new Error(reason);
  for (let attempt = 1; ; attempt++) {
    try {
      const tooLate = pause(DEADLINE_S).then(() => Promise.reject(new Error(`${DEADLINE_S} s`)));
      const image = await Promise.race([wadors.loadImage(imageId, { ...options }).promise, tooLate]);
      return image as unknown as Types.IImage;
    } catch (error) {
      const cause = error instanceof XMLHttpRequest ? readAnswer(error) : error;
      if (!(cause instanceof Problem) || cause.status !== 503 || attempt === ATTEMPTS) throw cause;
      await pause(Math.min(cause.retryAfter_s || attempt, LONGEST_WAIT_S));
    }
  }
}

function readAnswer(answer: XMLHttpRequest): Problem {
  const body = answer.response instanceof ArrayBuffer ? new TextDecoder().decode(answer.response) : '';
  return buildProblem(answer.status, answer.getResponseHeader('Retry-After'), body);
}
