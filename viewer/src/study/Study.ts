import type { Series } from './Series';

/** A study with whom it is about, as the header shows it. */
export interface Study {
  studyUid: string;
  patientName: string;
  patientId: string;
  birthDate: string;
  sex: string;
  description: string;
  date: string;
  series: Series[];
}
