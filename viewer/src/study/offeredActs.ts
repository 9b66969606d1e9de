export type OutboxAct = 'retry' | 'park' | 'discard';

const WAITING: readonly OutboxAct[] = ['retry', 'park', 'discard'];
const OFFERED: Record<string, readonly OutboxAct[]> = {
  due: WAITING,
  leased: WAITING,
  frozen: WAITING,
  parked: ['retry', 'discard'],
};

/** What a person may do to an item of the outbox in this state; nothing once it is settled, or in a state we do not know. */
export function offeredActs(state: string): readonly OutboxAct[] {
  return OFFERED[state] ?? [];
}
