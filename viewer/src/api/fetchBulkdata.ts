import { request } from './request';

/**
 * One bulk value as bytes. Only its path is taken from the metadata: behind a reverse proxy the node may not know its
 * own public name, and a page must not be led to another origin.
 */
export async function fetchBulkdata(uri: string): Promise<Uint8Array> {
  const { pathname, search } = new URL(uri, location.href);
  const response = await request(pathname + search, { headers: { Accept: 'application/octet-stream' } });
  return new Uint8Array(await response.arrayBuffer());
}
