import { requestJson } from './requestJson';

/** A submission that is owed, or was made, to the DMP. */
export interface OutboxItem {
  id: number;
  study_uid: string;
  kind: string;
  state: string;
  /** What made it due, in the node's own words. */
  cause: string;
  attempts: number;
  last_error: string;
  unique_id: string;
  entry_uuid: string;
  /** These three: seconds since 1970. */
  next_try: number;
  created_at: number;
  settled_at: number | null;
}

/** The newest items, or the newest in one state. */
export async function fetchOutbox(state = ''): Promise<OutboxItem[]> {
  const query = state && `?${new URLSearchParams({ state })}`;
  const answer = (await requestJson(`/api/v1/outbox${query}`)) as { items?: OutboxItem[] };
  return answer.items ?? [];
}
