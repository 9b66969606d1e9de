export interface WindowPreset {
  /** Key in the words. */
  name: 'brain' | 'subdural' | 'lung' | 'mediastinum' | 'abdomen' | 'bone';
  center: number;
  width: number;
}

/** Usual CT windows, in HU. */
export const WINDOW_PRESETS: readonly WindowPreset[] = [
  { name: 'brain', center: 40, width: 80 },
  { name: 'subdural', center: 75, width: 215 },
  { name: 'lung', center: -600, width: 1500 },
  { name: 'mediastinum', center: 50, width: 350 },
  { name: 'abdomen', center: 40, width: 400 },
  { name: 'bone', center: 500, width: 2000 },
];
