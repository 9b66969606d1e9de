import type { OutboxItem } from '../api/fetchOutbox';
import { formatMoment } from '../study/formatMoment';
import { type OutboxAct, offeredActs } from '../study/offeredActs';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';
import { viewerAddress } from './viewerAddress';

/** The states in which there will be a next try. */
const WAITING = new Set(['due', 'leased', 'frozen']);

interface Props {
  items: OutboxItem[];
  isAsking: boolean;
  onAct: (item: OutboxItem, act: OutboxAct) => void;
}

/** One line an item: what is owed, why, since when, and what may be done about it. */
export function OutboxTable({ items, isAsking, onAct }: Props) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>{say('item')}</th>
            <th>{say('state')}</th>
            <th>{say('kind')}</th>
            <th>{say('study')}</th>
            <th>{say('since')}</th>
            <th class="number">{say('attempts')}</th>
            <th>{say('nextTry')}</th>
            <th>{say('lastError')}</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={item.id} data-item={item.id}>
              <td>{item.id}</td>
              <td>
                <span class={`state ${item.state}`}>{sayIfKnown('state_', item.state, item.state)}</span>
              </td>
              <td>
                {sayIfKnown('job_', item.kind, item.kind)}
                <div class="muted">{sayIfKnown('cause_', item.cause.replaceAll(/[ -]/g, '_'), item.cause)}</div>
              </td>
              <td class="uid">
                <a href={viewerAddress(item.study_uid)}>{item.study_uid}</a>
                {item.unique_id && <div title={item.entry_uuid}>{say('manifestUid', { uid: item.unique_id })}</div>}
              </td>
              <td>{formatMoment(item.created_at)}</td>
              <td class="number">{item.attempts}</td>
              <td>{WAITING.has(item.state) && formatMoment(item.next_try)}</td>
              <td class="error">
                {item.last_error}
                {item.settled_at && <div class="muted">{formatMoment(item.settled_at)}</div>}
              </td>
              <td class="act">
                <div class="acts">
                  {offeredActs(item.state).map((act) => (
                    <button type="button" key={act} disabled={isAsking} onClick={() => onAct(item, act)}>
                      {say(act)}
                    </button>
                  ))}
                </div>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
