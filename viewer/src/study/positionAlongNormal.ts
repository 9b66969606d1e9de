import type { DicomJson } from './DicomJson';
import { readNumbers } from './readNumbers';
import { TAG } from './tags';

/** Where the plane of an image lies along its own normal, in mm (PS3.3 §C.7.6.2.1.1); undefined without geometry. */
export function positionAlongNormal(instance: DicomJson): number | undefined {
  const orientation = readNumbers(instance, TAG.imageOrientation, 6);
  const position = readNumbers(instance, TAG.imagePosition, 3);
  if (!orientation.length || !position.length) return undefined;
  const [rx = 0, ry = 0, rz = 0, cx = 0, cy = 0, cz = 0] = orientation;
  const [x = 0, y = 0, z = 0] = position;
  return x * (ry * cz - rz * cy) + y * (rz * cx - rx * cz) + z * (rx * cy - ry * cx);
}
