import { say } from '../words/say';

/** What Cornerstone worked out for a region of interest. */
export interface RegionStatistics {
  area?: number;
  areaUnit?: string;
  mean?: number;
  stdDev?: number;
  min?: number;
  max?: number;
  modalityUnit?: string;
}

/** The lines written beside a region. A figure that could not be worked out is left out. */
export function describeRegion(statistics: RegionStatistics): string[] {
  const { area, areaUnit = '', mean, stdDev, min, max, modalityUnit = '' } = statistics;
  const line = (label: string, value: number | undefined, unit: string) =>
    typeof value === 'number' && Number.isFinite(value)
      ? [`${label} ${Math.round(value * 10) / 10} ${unit}`.trim()]
      : [];
  return [
    ...line(say('regionArea'), area, areaUnit),
    ...line(say('regionMean'), mean, modalityUnit),
    ...line(say('regionDeviation'), stdDev, modalityUnit),
    ...line(say('regionMin'), min, modalityUnit),
    ...line(say('regionMax'), max, modalityUnit),
  ];
}
