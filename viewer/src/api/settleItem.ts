import { request } from './request';

/** Tell the outbox, with the reason, to stop trying an item (`park`) or that it is not owed any more (`discard`). */
export async function settleItem(id: number, act: 'park' | 'discard', reason: string): Promise<void> {
  await request(`/api/v1/outbox/${id}/${act}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ reason }),
  });
}
