import type { DicomJson } from './DicomJson';
import { readNumber } from './readNumber';

const FRAME_TIME = '00181063'; // ms
const CINE_RATE = '00180040'; // frames a second
const RECOMMENDED_RATE = '00082144'; // frames a second
const DEFAULT_RATE = 12;
const FASTEST_MS = 20;

/** How long a frame stays on screen when a run is played, in ms. PS3.3 §C.7.6.5. */
export function framePeriod(instance: DicomJson): number {
  const rate = readNumber(instance, RECOMMENDED_RATE, 0) || readNumber(instance, CINE_RATE, 0);
  const period_ms = rate > 0 ? 1000 / rate : readNumber(instance, FRAME_TIME, 0);
  return Math.max(FASTEST_MS, period_ms > 0 ? period_ms : 1000 / DEFAULT_RATE);
}
