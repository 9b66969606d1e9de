const PATHS = {
  window: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  zoom: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5 21 21M8 10.5h5M10.5 8v5',
  pan: 'M12 3v18M3 12h18M12 3l-2.5 2.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5',
  length: 'M4 20 20 4M4 20l0-4M4 20l4 0M20 4l-4 0M20 4l0 4',
  angle: 'M4 19h16M4 19 15 5M11 19a7 7 0 0 0-2.7-5.5',
  ellipse: 'M12 6c5 0 8.5 2.7 8.5 6s-3.5 6-8.5 6-8.5-2.7-8.5-6S7 6 12 6',
  reset: 'M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5',
  invert: 'M4 4h16v16H4zM4 20 20 4v16z',
  fit: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
  play: 'M7 4.5v15l12-7.5z',
  stop: 'M6 6h12v12H6z',
  compare: 'M4 5h16v14H4zM12 5v14',
} as const;

export type IconName = keyof typeof PATHS;

/** A line drawing of 24 units; the text beside it carries the meaning. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
