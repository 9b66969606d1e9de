import { useEffect } from 'preact/hooks';
import { fetchOutbox, type OutboxItem } from '../api/fetchOutbox';
import { retryItem } from '../api/retryItem';
import { formatMoment } from '../study/formatMoment';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';
import { viewerAddress } from './viewerAddress';

/** The states in which there will be a next try. */
const WAITING = new Set(['due', 'leased', 'frozen']);

/** What the node owes the DMP, for the operator. A parked item waits for a person: it can be tried again from here. */
export function OutboxPanel() {
  const { value: items, notice, isAsking, ask } = useAnswer<OutboxItem[]>();
  const refresh = () => ask(fetchOutbox);
  useEffect(refresh, []);
  const retry = (item: OutboxItem) =>
    ask(async () => {
      await retryItem(item.id);
      return fetchOutbox();
    });
  const isAbsent = notice?.status === 404 || notice?.status === 503;
  return (
    <section class="panel" aria-labelledby="outbox">
      <div class="heading">
        <h2 id="outbox">{say('outbox')}</h2>
        <button type="button" disabled={isAsking} onClick={refresh}>
          {say('refresh')}
        </button>
      </div>
      {notice && <NoticePanel notice={isAbsent ? { ...notice, title: say('outboxAbsent'), detail: '' } : notice} />}
      {items && !items.length && <p role="status">{say('outboxEmpty')}</p>}
      {items && items.length > 0 && (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>{say('item')}</th>
                <th>{say('state')}</th>
                <th>{say('kind')}</th>
                <th>{say('study')}</th>
                <th class="number">{say('attempts')}</th>
                <th>{say('nextTry')}</th>
                <th>{say('lastError')}</th>
                <th>{say('identifiers')}</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {items.map((item) => (
                <tr key={item.id}>
                  <td>{item.id}</td>
                  <td>
                    <span class={`state ${item.state}`}>{sayIfKnown('state_', item.state, item.state)}</span>
                  </td>
                  <td>{item.kind}</td>
                  <td class="uid">
                    <a href={viewerAddress(item.study_uid)}>{item.study_uid}</a>
                  </td>
                  <td class="number">{item.attempts}</td>
                  <td>{WAITING.has(item.state) && formatMoment(item.next_try)}</td>
                  <td class="error">{item.last_error}</td>
                  <td class="uid">
                    <div>{item.unique_id}</div>
                    <div>{item.entry_uuid}</div>
                  </td>
                  <td class="act">
                    {item.state === 'parked' && (
                      <button type="button" disabled={isAsking} onClick={() => retry(item)}>
                        {say('retry')}
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
