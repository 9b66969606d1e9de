import { describe, expect, test } from 'vitest';
import type { DicomJson } from '../../src/study/DicomJson';
import { decodePalette } from '../../src/study/decodePalette';
import { dicomwebRoot } from '../../src/study/dicomwebRoot';
import { expandSegments } from '../../src/study/expandSegments';
import { formatDate } from '../../src/study/formatDate';
import { formatMoment } from '../../src/study/formatMoment';
import { formatName } from '../../src/study/formatName';
import { framePeriod } from '../../src/study/framePeriod';
import { isImage } from '../../src/study/isImage';
import { listFrames } from '../../src/study/listFrames';
import { orientationLabels } from '../../src/study/orientationLabels';
import { readAddress } from '../../src/study/readAddress';
import { readNumber } from '../../src/study/readNumber';
import { readStudy } from '../../src/study/readStudy';
import { readText } from '../../src/study/readText';
import { shrinkToRgba } from '../../src/study/shrinkToRgba';
import { sortInstances } from '../../src/study/sortInstances';
import { whyUnreadable } from '../../src/study/whyUnreadable';
import { describeRegion } from '../../src/viewport/describeRegion';
import { say } from '../../src/words/say';

const instance = (values: Record<string, unknown[]>): DicomJson =>
  Object.fromEntries(Object.entries(values).map(([tag, Value]) => [tag, { Value }]));
const uids = (list: DicomJson[]) => list.map((one) => readText(one, '00080018'));

test.each([
  ['DUPONT^Jean', 'DUPONT Jean'],
  ['DUPONT^Jean^Marie^Dr^', 'Dr DUPONT Jean Marie'],
  ['Yamada^Tarou=山田^太郎', 'Yamada Tarou'],
  ['^^^^', ''],
  ['', ''],
])('name %j reads %j', (stored, expected) => {
  expect(formatName(stored)).toBe(expected);
});

test.each([
  ['20261123', '23/11/2026'],
  ['20261102103000+0100', '02/11/2026'],
  ['2026-11-02T10:30:00Z', '02/11/2026'],
  ['1997.04.24', '24/04/1997'],
  ['unknown', 'unknown'],
  ['', ''],
])('date %j reads %j', (stored, expected) => {
  expect(formatDate(stored)).toBe(expected);
});

test('a moment is shown in local time, and zero is no moment', () => {
  expect(formatMoment(new Date(2026, 10, 3, 4, 5).getTime() / 1000)).toBe('03/11/2026 04:05');
  expect(formatMoment(0)).toBe('');
});

test('a value is read whatever its JSON type', () => {
  const dataSet = { a: { Value: ['12'] }, b: { Value: [{ Alphabetic: 'X^Y' }] }, c: { Value: [null] }, d: {} };
  expect(readNumber(dataSet, 'a', 0)).toBe(12);
  expect(readText(dataSet, 'b')).toBe('X^Y');
  expect(readText(dataSet, 'c')).toBe('');
  expect(readNumber(dataSet, 'c', 7)).toBe(7);
  expect(readNumber(dataSet, 'd', 7)).toBe(7);
});

describe('the order of a stack', () => {
  const slice = (uid: string, number?: number, z?: number) =>
    instance({
      '00080018': [uid],
      ...(number !== undefined && { '00200013': [number] }),
      ...(z !== undefined && { '00200032': [0, 0, z], '00200037': [1, 0, 0, 0, 1, 0] }),
    });

  test('is by instance number when every image has its own, even against the position', () => {
    expect(uids(sortInstances([slice('b', 10, 1), slice('a', 9, 2), slice('c', 100, 0)]))).toEqual(['a', 'b', 'c']);
  });
  test('is by position when numbers repeat', () => {
    expect(uids(sortInstances([slice('a', 1, 5), slice('b', 1, -5), slice('c', 1, 0)]))).toEqual(['b', 'c', 'a']);
  });
  test('is by UID when there is nothing else', () => {
    expect(uids(sortInstances([slice('c'), slice('a'), slice('b')]))).toEqual(['a', 'b', 'c']);
  });
});

describe('frames', () => {
  const image = instance({ '00080018': ['1.2.3'], '0020000E': ['1.2'], '00280010': [4], '00280011': [4] });
  const root = '/visits/v/dicom-web';

  test('one image is one frame, addressed by WADO-RS', () => {
    const imageId = 'wadors:/visits/v/dicom-web/studies/1/series/1.2/instances/1.2.3/frames/1';
    expect(listFrames(root, '1', [image])).toEqual([{ imageId, sopUid: '1.2.3', frameNumber: 1 }]);
  });
  test('a run of frames is counted from 1', () => {
    const run = { ...image, '00280008': { Value: ['3'] } };
    expect(listFrames(root, '1', [run]).map((frame) => frame.frameNumber)).toEqual([1, 2, 3]);
  });
  test('a hostile count is capped', () => {
    expect(listFrames(root, '1', [{ ...image, '00280008': { Value: [2 ** 31] } }])).toHaveLength(20_000);
  });
  test('objects without pixels and videos are not images', () => {
    expect(isImage(instance({ '00080018': ['1'] }))).toBe(false);
    expect(isImage({ ...image, '00083002': { Value: ['1.2.840.10008.1.2.4.102'] } })).toBe(false);
    expect(isImage({ ...image, '00083002': { Value: ['1.2.840.10008.1.2.4.90'] } })).toBe(true);
  });
});

test('series with images come first, by number; reports after', () => {
  const series = (uid: string, modality: string, number: number) =>
    instance({ '0020000E': [uid], '00080060': [modality], '00200011': [number], '00201209': [2] });
  const study = readStudy('9', instance({ '00100010': ['A^B'] }), [
    series('k', 'KO', 1),
    series('c2', 'CT', 20),
    series('c1', 'CT', 3),
  ]);
  expect(study.series.map((one) => one.seriesUid)).toEqual(['c1', 'c2', 'k']);
  expect(study.patientName).toBe('A^B');
  expect(study.series[0]?.instances).toBe(2);
});

test('only UIDs of the address reach a request', () => {
  const address = readAddress('?StudyInstanceUIDs=1.2.3,../etc,1.2.4&StudyInstanceUIDs=1.2.3&visit=abc');
  expect(address).toEqual({ studyUids: ['1.2.3', '1.2.4'], visit: 'abc' });
  expect(readAddress(`?StudyInstanceUIDs=${'1'.repeat(65)}`).studyUids).toEqual([]);
});

test('a visit is part of one path segment', () => {
  expect(dicomwebRoot('')).toBe('/dicom-web');
  expect(dicomwebRoot('a/../b')).toBe('/visits/a%2F..%2Fb/dicom-web');
});

test.each([
  [[1, 0, 0, 0, 1, 0], { left: 'R', right: 'L', top: 'A', bottom: 'P' }], // axial, supine
  [[1, 0, 0, 0, 0, -1], { left: 'R', right: 'L', top: 'H', bottom: 'F' }], // coronal
  [[0, 1, 0, 0, 0, -1], { left: 'A', right: 'P', top: 'H', bottom: 'F' }], // sagittal
  [[0.8, 0.6, 0, 0, 0, -1], { left: 'RA', right: 'LP', top: 'H', bottom: 'F' }], // oblique
])('edges of %j', (orientation, expected) => {
  expect(orientationLabels(orientation)).toEqual(expected);
});

test('an image without orientation has no letters', () => {
  expect(orientationLabels([])).toBeUndefined();
});

test('the pace of a run comes from its rate or its frame time', () => {
  expect(framePeriod(instance({ '00082144': [25] }))).toBe(40);
  expect(framePeriod(instance({ '00181063': ['66.7'] }))).toBe(66.7);
  expect(framePeriod(instance({ '00181063': [0.001] }))).toBe(20);
  expect(framePeriod({})).toBeCloseTo(83.3, 1);
});

test('palettes of 16 and of packed 8 bits are read', () => {
  expect(decodePalette(Uint8Array.of(0, 1, 255, 255), [2, 0, 16])).toEqual([256, 65535]);
  expect(decodePalette(Uint8Array.of(7, 9), [2, 0, 8])).toEqual([7, 9]);
});

test('a segmented palette is expanded', () => {
  const words = (...values: number[]) => Uint8Array.from(values.flatMap((value) => [value & 255, value >> 8]));
  // Two values; four more in a line up to 500; then the first segment once more.
  const palette = words(0, 2, 7, 100, 1, 4, 500, 2, 1, 0, 0);
  expect(expandSegments(palette)).toEqual([7, 100, 200, 300, 400, 500, 7, 100]);
  // A segment that copies itself ends, and a table never outgrows the standard.
  expect(expandSegments(words(2, 65535, 0, 0))).toEqual([]);
  expect(expandSegments(words(1, 65535, 9, 1, 65535, 9))).toHaveLength(65_536);
});

test('a thumbnail keeps proportions and applies the window', () => {
  // 1 row of 2 pixels, window 0..100: black and white, in the middle row band of a 2 x 2 picture.
  const rgba = shrinkToRgba([0, 100], { rows: 1, columns: 2, components: 1, inverted: false }, [50, 100], 2);
  expect(Array.from(rgba)).toEqual([0, 0, 0, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
  const colour = shrinkToRgba([9, 8, 7], { rows: 1, columns: 1, components: 3, inverted: false }, [0, 1], 1);
  expect(Array.from(colour)).toEqual([9, 8, 7, 255]);
});

test.each([
  [{ '00280100': [16], '00280002': [1] }, ''],
  [{ '00280100': [8], '00280002': [3], '00280004': ['RGB'] }, ''],
  [{ '00280100': [16], '00280002': [3] }, '3 × 16 bits'],
  [{ '00280100': [1], '00280002': [1] }, '1 bits'],
  [{ '00280100': [32], '00280002': [1] }, '32 bits'],
  [{ '00280100': [8], '00280002': [1], '00280004': ['PALETTE COLOR'] }, 'PALETTE COLOR'],
])('an image of format %j is refused because of %j', (values, expected) => {
  expect(whyUnreadable(instance(values))).toBe(expected);
});

test('a region is described by what is known of it', () => {
  expect(describeRegion({ area: 12.34, areaUnit: 'mm²', mean: 40, modalityUnit: 'HU', stdDev: Number.NaN })).toEqual([
    `${say('regionArea')} 12.3 mm²`,
    `${say('regionMean')} 40 HU`,
  ]);
});
