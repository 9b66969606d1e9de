import { requestJson } from './requestJson';

/** How far the images of a visit have come, in instances. */
export interface Progress {
  expected: number;
  landed: number;
  missing: number;
  complete: boolean;
}

export async function fetchProgress(visit: string): Promise<Progress> {
  return (await requestJson(`/api/v1/visits/${encodeURIComponent(visit)}`)) as Progress;
}
