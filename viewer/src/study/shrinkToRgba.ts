/**
 * Shrink a decoded image into a small RGBA picture that keeps its proportions, by nearest pixel.
 *
 * pixels: `components` values a pixel, row by row, in modality units when grey. window: (center, width), used for grey
 * only. Returns `size` × `size` RGBA bytes, transparent around the image.
 */
export function shrinkToRgba(
  pixels: ArrayLike<number>,
  source: { rows: number; columns: number; components: number; inverted: boolean },
  window: readonly [number, number],
  size: number,
): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(size * size * 4);
  const scale = Math.max(source.rows, source.columns) / size;
  const width = Math.max(1, Math.min(size, Math.round(source.columns / scale)));
  const height = Math.max(1, Math.min(size, Math.round(source.rows / scale)));
  const left = (size - width) >> 1;
  const top = (size - height) >> 1;
  const [center, windowWidth] = window;
  const lower = center - windowWidth / 2;
  const gain = 255 / Math.max(windowWidth, 1e-6);
  for (let y = 0; y < height; y++) {
    const row = Math.min(source.rows - 1, Math.floor((y + 0.5) * scale));
    for (let x = 0; x < width; x++) {
      const column = Math.min(source.columns - 1, Math.floor((x + 0.5) * scale));
      const from = (row * source.columns + column) * source.components;
      const to = ((y + top) * size + x + left) * 4;
      if (source.components >= 3) {
        for (let channel = 0; channel < 3; channel++) rgba[to + channel] = pixels[from + channel] ?? 0;
      } else {
        const level = ((pixels[from] ?? 0) - lower) * gain;
        rgba.fill(source.inverted ? 255 - level : level, to, to + 3);
      }
      rgba[to + 3] = 255;
    }
  }
  return rgba;
}
