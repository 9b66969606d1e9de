import type { DicomJson } from './DicomJson';
import { positionAlongNormal } from './positionAlongNormal';
import { readNumber } from './readNumber';
import { readText } from './readText';
import { TAG } from './tags';

/**
 * The order in which a stack is read: by Instance Number, as the modality meant it. When numbers are missing or used
 * twice, by position along the normal of the slices; UIDs settle what is left.
 */
export function sortInstances(instances: readonly DicomJson[]): DicomJson[] {
  const keyed = instances.map((instance) => ({
    instance,
    instanceNumber: readNumber(instance, TAG.instanceNumber, Number.NaN),
    position_mm: positionAlongNormal(instance) ?? Number.NaN,
    uid: readText(instance, TAG.sopUid),
  }));
  const numbered = keyed.every((key) => !Number.isNaN(key.instanceNumber));
  const distinct = numbered && new Set(keyed.map((key) => key.instanceNumber)).size === keyed.length;
  const placed = !distinct && keyed.every((key) => !Number.isNaN(key.position_mm));
  keyed.sort(
    (a, b) =>
      (placed ? a.position_mm - b.position_mm : 0) ||
      (numbered ? a.instanceNumber - b.instanceNumber : 0) ||
      (a.uid < b.uid ? -1 : 1),
  );
  return keyed.map((key) => key.instance);
}
