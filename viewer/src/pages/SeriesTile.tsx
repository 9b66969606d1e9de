import { useEffect, useRef, useState } from 'preact/hooks';
import { mayHaveImages } from '../study/mayHaveImages';
import type { Series } from '../study/Series';
import { drawThumbnail } from '../viewport/drawThumbnail';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';
import { loadStack } from './loadStack';

interface Props {
  root: string;
  series: Series;
  isShown: boolean;
  onOpen: (series: Series) => void;
}

const SIZE = 96;

/** A series in the list: its middle image in small, or its kind in words. Drawn only once it scrolls into sight. */
export function SeriesTile({ root, series, isShown, onOpen }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const hasImages = mayHaveImages(series);
  const [count, setCount] = useState(0);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const target = canvas.current;
    if (!target) return;
    const draw = async () => {
      try {
        const { frames } = await loadStack(root, series);
        setCount(frames.length);
        const middle = frames[Math.floor(frames.length / 2)];
        if (middle) await drawThumbnail(target, middle.imageId);
        setFailed(!middle);
      } catch {
        setFailed(true);
      }
    };
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      void draw();
    });
    observer.observe(target);
    return () => observer.disconnect();
  }, [root, series.seriesUid, series.instances]);

  const kind = sayIfKnown('kind_', series.modality, say('kind_other'));
  const title = series.description || (hasImages ? say('noDescription') : kind);
  return (
    <li>
      <button
        type="button"
        class="tile"
        aria-current={isShown}
        disabled={!hasImages}
        title={title}
        onClick={() => onOpen(series)}
      >
        <span class="picture">
          {hasImages && <canvas ref={canvas} width={SIZE} height={SIZE} />}
          {!hasImages && <span class="code">{series.modality || '?'}</span>}
          {failed && <span class="code small">{say('thumbnailFailed')}</span>}
        </span>
        <span class="about">
          <span class="title">{title}</span>
          <span class="muted">
            <span class="badge">{series.modality || '?'}</span>
            {hasImages
              ? countWords(count || series.instances, 'oneImage', 'manyImages')
              : countWords(series.instances, 'oneObject', 'manyObjects')}
          </span>
          {series.seriesNumber !== undefined && (
            <span class="muted">{say('seriesNumber', { n: series.seriesNumber })}</span>
          )}
        </span>
      </button>
    </li>
  );
}

function countWords(n: number, one: 'oneImage' | 'oneObject', many: 'manyImages' | 'manyObjects'): string {
  if (n === 0) return '';
  return n === 1 ? say(one) : say(many, { n });
}
