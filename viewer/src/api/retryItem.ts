import { request } from './request';

/** Tell the outbox to try an item again now. */
export async function retryItem(id: number): Promise<void> {
  await request(`/api/v1/outbox/${id}/retry`, { method: 'POST' });
}
