import { Enums, eventTarget, RenderingEngine, type StackViewport, utilities } from '@cornerstonejs/core';
import {
  AngleTool,
  annotation,
  EllipticalROITool,
  LengthTool,
  PanTool,
  Enums as ToolEnums,
  ToolGroupManager,
  WindowLevelTool,
  ZoomTool,
} from '@cornerstonejs/tools';
import { describeRegion, type RegionStatistics } from './describeRegion';
import { prefetch } from './prefetch';

export const POINTER_TOOLS = {
  window: WindowLevelTool.toolName as string,
  zoom: ZoomTool.toolName as string,
  pan: PanTool.toolName as string,
  length: LengthTool.toolName as string,
  angle: AngleTool.toolName as string,
  ellipse: EllipticalROITool.toolName as string,
} as const;

/** What the left button does. */
export type PointerTool = keyof typeof POINTER_TOOLS;

/** What is on the screen, for the text laid over it. */
export interface Shown {
  index: number;
  imageId: string;
  isColour: boolean;
  center: number;
  width: number;
  zoom: number;
  inverted: boolean;
}

export interface ViewportListener {
  onShown(shown: Shown): void;
  onFailure(index: number, error: unknown): void;
}

const { MouseBindings, KeyboardBindings } = ToolEnums;
let opened = 0;

/** Cornerstone asks for the text of a region so; the statistics are kept by image. */
function regionLines(data: { cachedStats: Record<string, RegionStatistics> }, targetId: string): string[] {
  return describeRegion(data.cachedStats[targetId] ?? {});
}

/** One stack of images in one element of the page: Cornerstone's rendering engine, its tools and its events. */
export class ImageViewport {
  private readonly id = `viewport-${++opened}`;
  private readonly engine = new RenderingEngine(`engine-${this.id}`);
  private readonly tools;
  private readonly observer: ResizeObserver;
  private imageIds: string[] = [];
  /** The frame last asked for; events about any other are late and ignored. */
  private asked = 0;

  constructor(
    private readonly element: HTMLDivElement,
    private readonly listener: ViewportListener,
  ) {
    this.engine.enableElement({ viewportId: this.id, type: Enums.ViewportType.STACK, element });
    this.tools = ToolGroupManager.createToolGroup(this.id);
    for (const name of Object.values(POINTER_TOOLS)) {
      this.tools?.addTool(name, name === POINTER_TOOLS.ellipse ? { getTextLines: regionLines } : {});
    }
    this.tools?.addViewport(this.id, this.engine.id);
    this.setPointerTool('window');
    element.addEventListener(Enums.Events.IMAGE_RENDERED, this.report);
    eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_ERROR, this.reportFailure);
    this.observer = new ResizeObserver(() => this.engine.resize(true, !this.isFitted()));
    this.observer.observe(element);
  }

  close(): void {
    this.observer.disconnect();
    this.element.removeEventListener(Enums.Events.IMAGE_RENDERED, this.report);
    eventTarget.removeEventListener(Enums.Events.IMAGE_LOAD_ERROR, this.reportFailure);
    ToolGroupManager.destroyToolGroup(this.id);
    this.engine.destroy();
  }

  /** Show a stack at `index`. With `keepView`, window, zoom and place stay as they are: the same stack has grown. */
  async show(imageIds: string[], index: number, keepView = false): Promise<void> {
    const viewport = this.viewport();
    const before = keepView ? { view: viewport.getViewPresentation(), look: viewport.getProperties() } : undefined;
    this.imageIds = imageIds;
    this.asked = index;
    await viewport.setStack(imageIds, index);
    if (before) {
      viewport.setViewPresentation(before.view);
      viewport.setProperties(before.look);
    }
    viewport.render();
    prefetch(imageIds, index);
  }

  /** Go to a frame, counted from 0; out of range means the nearest end. Returns the frame asked for. */
  goTo(index: number): number {
    this.asked = Math.max(0, Math.min(this.imageIds.length - 1, index));
    void this.viewport().setImageIdIndex(this.asked);
    return this.asked;
  }

  /** Ask again for the frame that failed. */
  async retry(): Promise<void> {
    await this.show(this.imageIds, this.asked, true);
  }

  setPointerTool(tool: PointerTool): void {
    const tools = this.tools;
    if (!tools) return;
    for (const name of Object.values(POINTER_TOOLS)) tools.setToolPassive(name, { removeAllBindings: true });
    const bindings: Record<string, { mouseButton: number; modifierKey?: number }[]> = {
      [POINTER_TOOLS.zoom]: [{ mouseButton: MouseBindings.Secondary }],
      [POINTER_TOOLS.pan]: [
        { mouseButton: MouseBindings.Auxiliary },
        { mouseButton: MouseBindings.Primary, modifierKey: KeyboardBindings.Shift },
      ],
    };
    const chosen = POINTER_TOOLS[tool];
    bindings[chosen] = [{ mouseButton: MouseBindings.Primary }, ...(bindings[chosen] ?? [])];
    for (const [name, list] of Object.entries(bindings)) tools.setToolActive(name, { bindings: list });
  }

  setWindow(center: number, width: number): void {
    const voiRange = utilities.windowLevel.toLowHighRange(width, center);
    this.viewport().setProperties({ voiRange });
    this.viewport().render();
  }

  invert(): void {
    const viewport = this.viewport();
    viewport.setProperties({ invert: !viewport.getProperties().invert });
    viewport.render();
  }

  fit(): void {
    this.viewport().resetCamera();
    this.viewport().render();
  }

  zoomBy(factor: number): void {
    const viewport = this.viewport();
    viewport.setZoom(viewport.getZoom() * factor);
    viewport.render();
  }

  /** Back to how the image is meant to be seen, without marks. */
  reset(): void {
    const viewport = this.viewport();
    for (const name of Object.values(POINTER_TOOLS)) annotation.state.removeAnnotations(name, this.element);
    viewport.resetProperties();
    viewport.resetCamera();
    viewport.render();
  }

  /** Whether the image is as `fit` puts it: then a new size of the window fits it again. */
  private isFitted(): boolean {
    const [x, y] = this.viewport().getPan();
    return Math.abs(this.viewport().getZoom() - 1) < 0.01 && Math.hypot(x, y) < 1;
  }

  private viewport(): StackViewport {
    return this.engine.getViewport(this.id) as StackViewport;
  }

  private readonly report = (): void => {
    const viewport = this.viewport();
    const image = viewport.getCornerstoneImage();
    if (!image || image.imageId !== this.imageIds[this.asked]) return;
    const { voiRange, invert } = viewport.getProperties();
    const { windowCenter, windowWidth } = voiRange
      ? utilities.windowLevel.toWindowLevel(voiRange.lower, voiRange.upper)
      : { windowCenter: 0, windowWidth: 0 };
    this.listener.onShown({
      index: this.asked,
      imageId: image.imageId,
      isColour: image.color,
      center: windowCenter,
      width: windowWidth,
      zoom: viewport.getZoom(),
      inverted: invert ?? false,
    });
  };

  private readonly reportFailure = (event: Event): void => {
    const { imageId, error } = (event as CustomEvent<{ imageId?: string; error?: unknown }>).detail;
    if (imageId === this.imageIds[this.asked]) {
      this.listener.onFailure(this.asked, (error as { error?: unknown } | undefined)?.error ?? error);
    }
  };
}
