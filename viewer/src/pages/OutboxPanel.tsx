import { useEffect, useState } from 'preact/hooks';
import { fetchOutbox, type OutboxItem } from '../api/fetchOutbox';
import { retryItem } from '../api/retryItem';
import { settleItem } from '../api/settleItem';
import type { OutboxAct } from '../study/offeredActs';
import { say } from '../words/say';
import { NoticePanel } from './NoticePanel';
import { OutboxTable } from './OutboxTable';
import { ReasonDialog } from './ReasonDialog';
import { useAnswer } from './useAnswer';

const STATES = ['parked', 'due', 'leased', 'frozen', 'done', 'discarded'] as const;

/** What the node owes the DMP, for the operator: what, why, since when, and what to do about it. */
export function OutboxPanel() {
  const { value: items, notice, isAsking, ask } = useAnswer<OutboxItem[]>();
  const [state, setState] = useState('');
  const [asked, setAsked] = useState<{ item: OutboxItem; act: 'park' | 'discard' }>();
  const refresh = () => ask(() => fetchOutbox(state));
  useEffect(refresh, [state]);
  const decide = (work: () => Promise<void>) =>
    ask(async () => {
      await work();
      return fetchOutbox(state);
    });
  const act = (item: OutboxItem, wanted: OutboxAct) => {
    if (wanted === 'retry') decide(() => retryItem(item.id));
    else setAsked({ item, act: wanted });
  };
  const isAbsent = notice?.status === 503;
  return (
    <section class="panel" aria-labelledby="outbox">
      <div class="heading">
        <h2 id="outbox">{say('outbox')}</h2>
        <div class="acts">
          <select aria-label={say('state')} value={state} onChange={(event) => setState(event.currentTarget.value)}>
            <option value="">{say('allStates')}</option>
            {STATES.map((one) => (
              <option key={one} value={one}>
                {say(`state_${one}`)}
              </option>
            ))}
          </select>
          <button type="button" disabled={isAsking} onClick={refresh}>
            {say('refresh')}
          </button>
        </div>
      </div>
      {notice && <NoticePanel notice={isAbsent ? { ...notice, title: say('outboxAbsent'), detail: '' } : notice} />}
      {items && !items.length && <p role="status">{say(state ? 'outboxNone' : 'outboxEmpty')}</p>}
      {items && items.length > 0 && <OutboxTable items={items} isAsking={isAsking} onAct={act} />}
      {asked && (
        <ReasonDialog
          item={asked.item}
          act={asked.act}
          onDecide={(reason) => decide(() => settleItem(asked.item.id, asked.act, reason))}
          onClose={() => setAsked(undefined)}
        />
      )}
    </section>
  );
}
