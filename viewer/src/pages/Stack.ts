import type { DicomJson } from '../study/DicomJson';
import type { Frame } from '../study/Frame';

/** A series made ready to be looked at. */
export interface Stack {
  frames: Frame[];
  instances: Map<string, DicomJson>;
}
