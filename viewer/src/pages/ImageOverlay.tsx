import type { DicomJson } from '../study/DicomJson';
import type { Frame } from '../study/Frame';
import { formatDate } from '../study/formatDate';
import { formatName } from '../study/formatName';
import { orientationLabels } from '../study/orientationLabels';
import { readNumbers } from '../study/readNumbers';
import { readText } from '../study/readText';
import { TAG } from '../study/tags';
import type { Shown } from '../viewport/ImageViewport';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';

interface Props {
  shown: Shown;
  frame: Frame;
  total: number;
  instance: DicomJson;
}

/** The text in the corners. It comes from the very instance on the screen, never from the list: they must not differ. */
export function ImageOverlay({ shown, frame, total, instance }: Props) {
  const text = (tag: string) => readText(instance, tag);
  const birthDate = text(TAG.birthDate);
  const labels = orientationLabels(readNumbers(instance, TAG.imageOrientation, 6));
  return (
    <div class="overlay">
      <div class="corner top left">
        <b>{formatName(text(TAG.patientName)) || say('unknownPatient')}</b>
        <span>
          {[birthDate && say('bornOn', { date: formatDate(birthDate) }), sayIfKnown('sex_', text(TAG.sex), '')]
            .filter(Boolean)
            .join(' · ')}
        </span>
        <span>{text(TAG.patientId)}</span>
      </div>
      <div class="corner top right">
        <b>{text(TAG.studyDescription) || say('noDescription')}</b>
        <span>{formatDate(text(TAG.studyDate))}</span>
        <span>{text(TAG.seriesDescription)}</span>
      </div>
      <div class="corner bottom left">
        <b class="count">{say('imageOf', { n: shown.index + 1, total })}</b>
        {total > 1 && frame.frameNumber > 1 && <span>{say('frameOf', { n: frame.frameNumber })}</span>}
        {text(TAG.lossy) === '01' && <span class="caution">{say('lossy')}</span>}
      </div>
      <div class="corner bottom right">
        {!shown.isColour && (
          <span class="window">
            {say('window', { width: Math.round(shown.width), center: Math.round(shown.center) })}
          </span>
        )}
        <span>{say('zoomLevel', { percent: Math.round(shown.zoom * 100) })}</span>
      </div>
      {labels && (
        <>
          <span class="edge at-left">{labels.left}</span>
          <span class="edge at-right">{labels.right}</span>
          <span class="edge at-top">{labels.top}</span>
          <span class="edge at-bottom">{labels.bottom}</span>
        </>
      )}
    </div>
  );
}
