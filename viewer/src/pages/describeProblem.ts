import { Problem } from '../api/Problem';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';

export interface Notice {
  title: string;
  detail: string;
  /** Smaller, for the operator: the node's own words and the incident number. */
  note: string;
  status: number;
}

/** What to tell a person about an error. */
export function describeProblem(error: unknown): Notice {
  if (!(error instanceof Problem)) {
    return { title: say('imageFailed'), detail: say('imageFailedDetail'), note: readMessage(error), status: -1 };
  }
  const family = error.status >= 500 ? '500' : '400';
  const spoken = error.status === 507 ? '503' : String(error.status);
  const note = [error.title, error.detail, error.incident && say('incident', { id: error.incident })];
  return {
    title: sayIfKnown('problem_', spoken, sayIfKnown('problem_', family, '')),
    detail: sayIfKnown('problem_detail_', spoken, sayIfKnown('problem_detail_', family, '')),
    note: note.filter(Boolean).join(' · '),
    status: error.status,
  };
}

function readMessage(error: unknown): string {
  return error instanceof Error ? error.message.slice(0, 200) : '';
}
