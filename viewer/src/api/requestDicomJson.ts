import type { DicomJson } from '../study/DicomJson';
import { Problem } from './Problem';
import { requestJson } from './requestJson';

/** GET a list of data sets in the DICOM JSON model (PS3.18 annex F). */
export async function requestDicomJson(url: string): Promise<DicomJson[]> {
  const list = await requestJson(url, 'application/dicom+json');
  if (!Array.isArray(list)) throw new Problem(502, 'application/dicom+json');
  return list as DicomJson[];
}
