import { imageLoader, init as startCore } from '@cornerstonejs/core';
import { init as startLoader } from '@cornerstonejs/dicom-image-loader';
import {
  AngleTool,
  addTool,
  annotation,
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
  const styles = annotation.config.style.getDefaultToolStyles();
  annotation.config.style.setDefaultToolStyles({
    ...styles,
    global: {
      ...styles.global,
      color: 'rgb(92, 200, 192)',
      colorSelected: 'rgb(160, 235, 228)',
      colorHighlighted: 'rgb(160, 235, 228)',
      textBoxFontFamily: 'system-ui, sans-serif',
      textBoxFontSize: '13px',
      textBoxColor: 'rgb(92, 200, 192)',
      textBoxColorSelected: 'rgb(160, 235, 228)',
      textBoxColorHighlighted: 'rgb(160, 235, 228)',
      lineWidth: '1.5',
    },
  });
  for (const tool of [WindowLevelTool, ZoomTool, PanTool, LengthTool, AngleTool, EllipticalROITool]) addTool(tool);
}
