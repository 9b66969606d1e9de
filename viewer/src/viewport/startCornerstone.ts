import { imageLoader, init as startCore } from '@cornerstonejs/core';
import { init as startLoader } from '@cornerstonejs/dicom-image-loader';
import {
  AngleTool,
  addTool,
  EllipticalROITool,
  LengthTool,
  PanTool,
  init as startTools,
  WindowLevelTool,
  ZoomTool,
} from '@cornerstonejs/tools';
import { loadFrame } from '../api/loadFrame';

/** Make Cornerstone3D ready: renderer, decoders in workers, our own frame loader, the mouse tools. Call once. */
export function startCornerstone(): void {
  startCore();
  startLoader({ maxWebWorkers: Math.min(4, Math.max(1, navigator.hardwareConcurrency - 1)) });
  imageLoader.registerImageLoader('wadors', loadFrame);
  startTools();
  for (const tool of [WindowLevelTool, ZoomTool, PanTool, LengthTool, AngleTool, EllipticalROITool]) addTool(tool);
}
