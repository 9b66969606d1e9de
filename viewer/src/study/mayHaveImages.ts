import type { Series } from './Series';

// PS3.3 §C.7.3.1.1.1. SEG and RTDOSE have pixels, but they are meant to be laid over another series, not looked at alone.
const WITHOUT_IMAGES = new Set(
  'KO SR PR SEG RTSTRUCT RTPLAN RTDOSE RTRECORD REG DOC PLAN AU ECG EPS HD RESP EEG EMG EOG FID RWV SMR M3D STAIN'.split(
    ' ',
  ),
);

/** Whether a series of this modality is worth asking pictures of. */
export function mayHaveImages(series: Series): boolean {
  return !WITHOUT_IMAGES.has(series.modality);
}
