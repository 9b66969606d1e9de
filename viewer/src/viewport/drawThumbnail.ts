import { Enums, imageLoader } from '@cornerstonejs/core';
import { shrinkToRgba } from '../study/shrinkToRgba';

/** Load one frame and draw it, small, into `canvas`. Throws what the loader throws. */
export async function drawThumbnail(canvas: HTMLCanvasElement, imageId: string): Promise<void> {
  const image = await imageLoader.loadAndCacheImage(imageId, { requestType: Enums.RequestType.Thumbnail, priority: 0 });
  const pixels = image.getPixelData();
  const components = Math.round(pixels.length / (image.rows * image.columns));
  const first = (value: number | number[]) => (Array.isArray(value) ? value[0] : value);
  const low = image.minPixelValue;
  const high = image.maxPixelValue;
  const window = [
    first(image.windowCenter) ?? (low + high) / 2,
    first(image.windowWidth) ?? Math.max(1, high - low),
  ] as const;
  const source = { rows: image.rows, columns: image.columns, components, inverted: image.invert };
  const size = canvas.width;
  canvas.getContext('2d')?.putImageData(new ImageData(shrinkToRgba(pixels, source, window, size), size, size), 0, 0);
}
