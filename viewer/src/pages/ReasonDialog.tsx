import { useEffect, useRef, useState } from 'preact/hooks';
import type { OutboxItem } from '../api/fetchOutbox';
import { say } from '../words/say';

interface Props {
  item: OutboxItem;
  act: 'park' | 'discard';
  onDecide: (reason: string) => void;
  onClose: () => void;
}

/** Asks a person whether they mean it, and why: the reason stays with the item, for whoever looks at it later. */
export function ReasonDialog({ item, act, onDecide, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState('');
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="reason-title" onClose={onClose}>
      <form
        method="dialog"
        onSubmit={() => {
          if (reason.trim()) onDecide(reason.trim());
        }}
      >
        <h2 id="reason-title">{say(`${act}Title`, { n: item.id })}</h2>
        <p>{say(`${act}Meaning`)}</p>
        <label>
          <span>{say('reason')}</span>
          <input
            type="text"
            required
            pattern=".*\S.*"
            maxLength={200}
            autocomplete="off"
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        <p class="muted">{say('reasonHint')}</p>
        <div class="acts">
          <button type="button" onClick={() => dialog.current?.close()}>
            {say('cancel')}
          </button>
          <button type="submit" class={act === 'discard' ? 'grave' : 'primary'}>
            {say(act)}
          </button>
        </div>
      </form>
    </dialog>
  );
}
