import type { RefObject } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { framePeriod } from '../study/framePeriod';
import type { Series } from '../study/Series';
import { ImageViewport, type PointerTool, type Shown } from '../viewport/ImageViewport';
import { say } from '../words/say';
import { describeImageFailure } from './describeImageFailure';
import type { Notice } from './describeProblem';
import { ImageOverlay } from './ImageOverlay';
import { loadStack } from './loadStack';
import { markPage } from './markPage';
import { NoticePanel } from './NoticePanel';
import type { Stack } from './Stack';

/** What the toolbar and the keyboard may ask of a pane. */
export interface PaneControl {
  viewport: ImageViewport;
  step(delta: number): void;
  goTo(index: number): void;
}

interface Props {
  root: string;
  series: Series | undefined;
  paneNumber: number;
  isActive: boolean;
  isPlaying: boolean;
  pointerTool: PointerTool;
  control: RefObject<PaneControl | null>;
  onActivate: () => void;
}

/** One stack of images with its text, its slider and, in its place when it cannot be shown, the reason. */
export function ImagePane(props: Props) {
  const { root, series, paneNumber, isActive, isPlaying, pointerTool, control, onActivate } = props;
  const element = useRef<HTMLDivElement>(null);
  const asked = useRef(0);
  const open = useRef('');
  const [target, setTarget] = useState(0);
  const [stack, setStack] = useState<Stack>();
  const [shown, setShown] = useState<Shown>();
  const [notice, setNotice] = useState<Notice>();

  const goTo = (index: number) => {
    const viewport = control.current?.viewport;
    if (!viewport) return;
    asked.current = viewport.goTo(index);
    setTarget(asked.current);
    setNotice(undefined);
  };

  useEffect(() => {
    if (!element.current) return;
    const viewport = new ImageViewport(element.current, {
      onShown: (next) => {
        setShown(next);
        setNotice(undefined);
        markPage('ready');
      },
      onFailure: (_index, error) => {
        setNotice(describeImageFailure(error));
        markPage('error');
      },
    });
    control.current = { viewport, goTo: (index) => goTo(index), step: (delta) => goTo(asked.current + delta) };
    return () => {
      control.current = null;
      viewport.close();
    };
  }, []);

  useEffect(() => {
    control.current?.viewport.setPointerTool(pointerTool);
  }, [pointerTool]);

  useEffect(() => {
    if (!series) return;
    let isCurrent = true;
    const isSame = open.current === series.seriesUid;
    if (!isSame) {
      setStack(undefined);
      setShown(undefined);
      setNotice(undefined);
    }
    const show = async () => {
      try {
        const next = await loadStack(root, series);
        const viewport = control.current?.viewport;
        if (!isCurrent || !viewport) return;
        open.current = series.seriesUid;
        setStack(next);
        if (!next.frames.length) {
          setNotice({ title: say('noImages'), detail: say('noImagesDetail'), note: '', status: -1 });
          markPage('error');
          return;
        }
        const current = isSame ? stack?.frames[asked.current]?.imageId : undefined;
        const index = Math.max(
          0,
          next.frames.findIndex((frame) => frame.imageId === current),
        );
        asked.current = index;
        setTarget(index);
        await viewport.show(
          next.frames.map((frame) => frame.imageId),
          index,
          current !== undefined,
        );
      } catch (error) {
        if (!isCurrent) return;
        setNotice(describeImageFailure(error));
        markPage('error');
      }
    };
    void show();
    return () => {
      isCurrent = false;
    };
  }, [root, series?.seriesUid, series?.instances]);

  const total = stack?.frames.length ?? 0;
  const frame = shown && stack?.frames[shown.index];
  const instance = frame && stack?.instances.get(frame.sopUid);

  useEffect(() => {
    // The next frame is asked for once this one is on the screen, so that a slow network slows the run, not the count.
    if (!isPlaying || !instance || shown?.index !== target || total < 2) return;
    const timer = setTimeout(() => goTo((target + 1) % total), framePeriod(instance));
    return () => clearTimeout(timer);
  }, [isPlaying, shown?.index, target, total, instance]);

  const onWheel = (event: WheelEvent) => {
    event.preventDefault();
    if (event.deltaY) goTo(asked.current + Math.sign(event.deltaY));
  };

  return (
    <section
      class="pane"
      data-active={isActive}
      onPointerDown={onActivate}
      onFocusCapture={onActivate}
      onWheel={onWheel}
    >
      <div
        class="image"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the image takes the arrow keys, as a slider does.
        tabIndex={0}
        role="application"
        aria-label={say('pane', { n: paneNumber })}
        ref={element}
        onContextMenu={(event) => event.preventDefault()}
      />
      {shown && frame && instance && !notice && (
        <ImageOverlay shown={shown} frame={frame} total={total} instance={instance} />
      )}
      {!series && <p class="placeholder">{say('emptyPane')}</p>}
      {series && !notice && (!shown || shown.index !== target) && (
        <p class="placeholder late" role="status">
          {say('loadingImage')}
        </p>
      )}
      {notice && (
        <div class="cover">
          {total > 0 && <p class="count">{say('imageOf', { n: target + 1, total })}</p>}
          <NoticePanel notice={notice} onRetry={total > 0 ? () => void control.current?.viewport.retry() : undefined} />
        </div>
      )}
      {total > 1 && (
        <input
          class="slider"
          type="range"
          min={1}
          max={total}
          value={target + 1}
          aria-label={say('slider')}
          aria-valuetext={say('imageOf', { n: target + 1, total })}
          onInput={(event) => goTo(Number(event.currentTarget.value) - 1)}
        />
      )}
    </section>
  );
}
