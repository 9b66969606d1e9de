import { Problem } from '../api/Problem';
import { say } from '../words/say';
import { describeProblem, type Notice } from './describeProblem';

/** What to tell a person about one image that cannot be shown: an absent one is named as such. */
export function describeImageFailure(error: unknown): Notice {
  const notice = describeProblem(error);
  const isAbsent = error instanceof Problem && (error.status === 404 || error.status === 410);
  return isAbsent ? { ...notice, title: say('imageMissing'), detail: say('imageMissingDetail') } : notice;
}
