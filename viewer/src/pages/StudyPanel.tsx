import { formatDate } from '../study/formatDate';
import type { Series } from '../study/Series';
import { say } from '../words/say';
import { NoticePanel } from './NoticePanel';
import { SeriesTile } from './SeriesTile';
import type { StudyState } from './useStudies';

interface Props {
  state: StudyState;
  root: string;
  shown: (string | undefined)[];
  onOpen: (series: Series) => void;
  onReport: (studyUid: string) => void;
}

/** One study in the list on the left: what it is, how far it has landed, its series. */
export function StudyPanel({ state, root, shown, onOpen, onReport }: Props) {
  const { study, notice, progress, wait_s } = state;
  const isLanding = progress?.complete === false && !notice;
  return (
    <section class="study">
      <h2>{study?.description || say('study')}</h2>
      <p class="muted">{study && formatDate(study.date)}</p>
      {study && (
        <button type="button" class="read" onClick={() => onReport(study.studyUid)}>
          {say('report')}
        </button>
      )}
      {!study && !notice && !wait_s && !isLanding && <p role="status">{say('loading')}</p>}
      {isLanding && (
        <div class="progress" role="status">
          {say('landing')}
          <progress value={progress.landed} max={progress.expected} aria-label={say('landing')} />
          {say('landed', { n: progress.landed, total: progress.expected })}
        </div>
      )}
      {!isLanding && !study && !notice && Boolean(wait_s) && (
        <p class="progress" role="status">
          {say('waiting', { seconds: wait_s ?? 0 })}
        </p>
      )}
      {progress?.complete && progress.missing > 0 && (
        <p class="progress" role="alert">
          {say('missingImages', { n: progress.missing, total: progress.expected })}
        </p>
      )}
      {notice && study && <NoticePanel notice={notice} />}
      <ul>
        {study?.series.map((series) => (
          <SeriesTile
            key={series.seriesUid}
            root={root}
            series={series}
            isShown={shown.includes(series.seriesUid)}
            onOpen={onOpen}
          />
        ))}
      </ul>
    </section>
  );
}
