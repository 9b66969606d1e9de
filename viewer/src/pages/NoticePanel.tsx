import { say } from '../words/say';
import type { Notice } from './describeProblem';

interface Props {
  notice: Notice;
  onRetry?: (() => void) | undefined;
}

/** Something that went wrong, in plain words, with the one thing to do about it. */
export function NoticePanel({ notice, onRetry }: Props) {
  return (
    <div class="notice" role="alert">
      <strong>{notice.title}</strong>
      <p>{notice.detail}</p>
      {notice.note && <p class="note">{notice.note}</p>}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          {say('retry')}
        </button>
      )}
    </div>
  );
}
