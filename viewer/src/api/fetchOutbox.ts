import { requestJson } from './requestJson';

/** A submission that is owed, or was made, to the DMP. */
export interface OutboxItem {
  id: string | number;
  study_uid: string;
  kind: string;
  state: string;
  attempts: number;
  last_error: string | null;
  unique_id: string | null;
  entry_uuid: string | null;
  next_try: string | null;
}

export async function fetchOutbox(): Promise<OutboxItem[]> {
  const answer = (await requestJson('/api/v1/outbox')) as { items?: OutboxItem[] };
  return answer.items ?? [];
}
