/** A series as the list shows it. */
export interface Series {
  studyUid: string;
  seriesUid: string;
  modality: string;
  seriesNumber: number | undefined;
  description: string;
  instances: number;
}
