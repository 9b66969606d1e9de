import type { DicomJson } from './DicomJson';
import { readSeries } from './readSeries';
import { readText } from './readText';
import type { Study } from './Study';
import { sortSeries } from './sortSeries';
import { TAG } from './tags';

/** Build the study from the answers to a search of it and of its series; whatever a node leaves out stays empty. */
export function readStudy(studyUid: string, study: DicomJson, seriesList: readonly DicomJson[]): Study {
  const first = (tag: string) => [study, ...seriesList].map((dataSet) => readText(dataSet, tag)).find(Boolean) ?? '';
  return {
    studyUid,
    patientName: first(TAG.patientName),
    patientId: first(TAG.patientId),
    birthDate: first(TAG.birthDate),
    sex: first(TAG.sex),
    description: first(TAG.studyDescription),
    date: first(TAG.studyDate),
    series: sortSeries(seriesList.map((dataSet) => readSeries(dataSet, studyUid)).filter((series) => series.seriesUid)),
  };
}
