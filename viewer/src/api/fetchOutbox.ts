import { requestJson } from './requestJson';

/** A submission that is owed, or was made, to the DMP. */
export interface OutboxItem {
  id: number;
  study_uid: string;
  kind: string;
  state: string;
  attempts: number;
  last_error: string;
  unique_id: string;
  entry_uuid: string;
  /** Seconds since 1970. */
  next_try: number;
}

export async function fetchOutbox(): Promise<OutboxItem[]> {
  const answer = (await requestJson('/api/v1/outbox')) as { items?: OutboxItem[] };
  return answer.items ?? [];
}
