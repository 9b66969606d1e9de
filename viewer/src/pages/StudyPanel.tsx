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
}

/** One study in the list on the left: what it is, how far it has landed, its series. */
export function StudyPanel({ state, root, shown, onOpen }: Props) {
  const { study, notice, isLanding, wait_s } = state;
  const images = study?.series.reduce((sum, series) => sum + series.instances, 0) ?? 0;
  return (
    <section class="study">
      <h2>{study?.description || say('study')}</h2>
      <p class="muted">{study && formatDate(study.date)}</p>
      {!study && !notice && !wait_s && <p role="status">{say('loading')}</p>}
      {Boolean(wait_s) && (
        <p class="progress" role="status">
          {say('waiting', { seconds: wait_s ?? 0 })}
        </p>
      )}
      {isLanding && !wait_s && (
        <p class="progress" role="status">
          {say('landing')} {images > 0 && say('landed', { n: images })}
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
