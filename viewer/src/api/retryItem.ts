import { request } from './request';

/** Tell the outbox to try an item again now. */
export async function retryItem(id: string | number): Promise<void> {
  await request(`/api/v1/outbox/${encodeURIComponent(id)}/retry`, { method: 'POST' });
}
