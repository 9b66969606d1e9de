export interface OrientationLabels {
  left: string;
  right: string;
  top: string;
  bottom: string;
}

/** Less than this share of a direction is not worth a letter: about 15 degrees. */
const LEAST_SHARE = 0.25;

/**
 * The letters at the four edges of an image, from Image Orientation (Patient), PS3.3 §C.7.6.1.1.1: the axes are
 * +x to the patient's Left, +y Posterior, +z Head. Undefined when the image has no orientation.
 */
export function orientationLabels(orientation: readonly number[]): OrientationLabels | undefined {
  if (orientation.length !== 6) return undefined;
  const row = orientation.slice(0, 3);
  const column = orientation.slice(3);
  const opposite = (direction: readonly number[]) => direction.map((part) => -part);
  return {
    left: letters(opposite(row)),
    right: letters(row),
    top: letters(opposite(column)),
    bottom: letters(column),
  };
}

function letters(direction: readonly number[]): string {
  return ['LR', 'PA', 'HF']
    .map((pair, axis) => ({ part: direction[axis] ?? 0, pair }))
    .filter(({ part }) => Math.abs(part) >= LEAST_SHARE)
    .sort((a, b) => Math.abs(b.part) - Math.abs(a.part))
    .map(({ part, pair }) => pair[part > 0 ? 0 : 1])
    .join('');
}
