import type { DicomJson } from './DicomJson';
import { readNumber } from './readNumber';
import { readText } from './readText';
import type { Series } from './Series';
import { TAG } from './tags';

export function readSeries(dataSet: DicomJson, studyUid: string): Series {
  const seriesNumber = readNumber(dataSet, TAG.seriesNumber, Number.NaN);
  return {
    studyUid,
    seriesUid: readText(dataSet, TAG.seriesUid),
    modality: readText(dataSet, TAG.modality),
    seriesNumber: Number.isNaN(seriesNumber) ? undefined : seriesNumber,
    description: readText(dataSet, TAG.seriesDescription),
    instances: readNumber(dataSet, TAG.seriesInstances, 0),
  };
}
