import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { reportAddress } from '../api/reportAddress';
import { dicomwebRoot } from '../study/dicomwebRoot';
import { formatName } from '../study/formatName';
import { mayHaveImages } from '../study/mayHaveImages';
import type { Address } from '../study/readAddress';
import type { Series } from '../study/Series';
import type { Study } from '../study/Study';
import type { PointerTool } from '../viewport/ImageViewport';
import { say } from '../words/say';
import { handleKey } from './handleKey';
import { ImagePane, type PaneControl } from './ImagePane';
import { markPage } from './markPage';
import { NoticePanel } from './NoticePanel';
import { PageHeader } from './PageHeader';
import { ReportPanel } from './ReportPanel';
import { StudyPanel } from './StudyPanel';
import { type Command, Toolbar } from './Toolbar';
import { useStudies } from './useStudies';

/** The viewer: series on the left, one or two stacks of images, tools above them. */
export function ViewerPage({ address }: { address: Address }) {
  const root = dicomwebRoot(address.visit);
  const { studies, retry } = useStudies(address);
  const [chosen, setChosen] = useState<(string | undefined)[]>([undefined, undefined]);
  const [active, setActive] = useState(0);
  const [isComparing, setComparing] = useState(false);
  const [isPlaying, setPlaying] = useState(false);
  const [read, setRead] = useState('');
  const [pointerTool, setPointerTool] = useState<PointerTool>('window');
  const controls = [useRef<PaneControl | null>(null), useRef<PaneControl | null>(null)];

  const series = useMemo(() => studies.flatMap(({ study }) => study?.series ?? []), [studies]);
  // The studies of the address are read side by side; the first of them opens, unless it has nothing to show.
  const pending = studies.findIndex(({ study, notice }) => !study && !notice);
  const readInOrder = pending < 0 ? studies : studies.slice(0, pending);
  const firstWithImages = readInOrder.flatMap(({ study }) => study?.series ?? []).find(mayHaveImages);
  const shownSeries = [0, 1].map((pane) => {
    const uid = chosen[pane] ?? (pane === 0 ? firstWithImages?.seriesUid : undefined);
    return series.find((one) => one.seriesUid === uid);
  });
  const shownStudies = shownSeries.map((one) => studies.find(({ studyUid }) => studyUid === one?.studyUid)?.study);
  const isMixed = isComparing && shownStudies.every(Boolean) && !isSamePatient(shownStudies[0], shownStudies[1]);
  const modality = shownSeries[active]?.modality ?? '';
  const isSettled = studies.every(({ study, notice, progress }) => notice || (study && progress?.complete !== false));

  useEffect(() => {
    // The first series found is kept when a lower-numbered one lands after it: the image must not change by itself.
    const uid = firstWithImages?.seriesUid;
    if (uid) setChosen((now) => (now[0] ? now : [uid, now[1]]));
    else if (isSettled) markPage('error');
  }, [firstWithImages?.seriesUid, isSettled]);

  const open = (one: Series) => {
    setChosen((now) => now.map((uid, pane) => (pane === active ? one.seriesUid : uid)));
    setPlaying(false);
  };
  const command = (name: Command) => {
    const viewport = controls[active]?.current?.viewport;
    if (name === 'play') setPlaying(!isPlaying);
    else if (name === 'compare') {
      setComparing(!isComparing);
      setActive(isComparing ? 0 : 1);
    } else if (shownSeries[active]) viewport?.[name]();
  };

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const pane = controls[active]?.current;
      const isTyping = event.target instanceof HTMLInputElement;
      const isPressing = event.target instanceof HTMLButtonElement && event.key === ' ';
      if (!pane || isTyping || isPressing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (shownSeries[active] && handleKey(event.key, pane, modality, command)) event.preventDefault();
    };
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  });

  const hasNothing = isSettled && !firstWithImages;
  const notice = studies.find((one) => one.notice)?.notice;
  return (
    <div class="viewer">
      <PageHeader study={shownStudies[active]} isViewer isMixed={isMixed} />
      <aside aria-label={say('seriesList')}>
        {studies.map((one) => (
          <StudyPanel
            key={one.studyUid}
            state={one}
            root={root}
            shown={shownSeries.map((shown) => shown?.seriesUid)}
            onOpen={open}
            onReport={setRead}
          />
        ))}
      </aside>
      <main>
        <Toolbar
          modality={modality}
          pointerTool={pointerTool}
          isPlaying={isPlaying}
          isComparing={isComparing}
          onPointerTool={setPointerTool}
          onCommand={command}
          onWindow={(center, width) => controls[active]?.current?.viewport.setWindow(center, width)}
        />
        <div class="panes">
          {[0, ...(isComparing ? [1] : [])].map((pane) => (
            <ImagePane
              key={pane}
              root={root}
              series={shownSeries[pane]}
              paneNumber={pane + 1}
              isActive={isComparing && active === pane}
              isPlaying={isPlaying && active === pane}
              pointerTool={pointerTool}
              control={controls[pane] as (typeof controls)[0]}
              onActivate={() => setActive(pane)}
            />
          ))}
          {read && <ReportPanel address={reportAddress(read, address.visit)} onClose={() => setRead('')} />}
          {hasNothing && (
            <div class="cover">
              <NoticePanel notice={notice ?? nothingNotice(studies.length > 0)} onRetry={notice && retry} />
            </div>
          )}
        </div>
        <footer class="muted">{say('help')}</footer>
      </main>
    </div>
  );
}

/** Identifiers differ between places; the name and the birth date are what a person compares on the screen. */
function isSamePatient(one: Study | undefined, other: Study | undefined): boolean {
  return (
    one?.birthDate === other?.birthDate && formatName(one?.patientName ?? '') === formatName(other?.patientName ?? '')
  );
}

function nothingNotice(isStudyAsked: boolean) {
  return isStudyAsked
    ? { title: say('noImages'), detail: say('studyWithoutImages'), note: '', status: -1 }
    : { title: say('noStudyAsked'), detail: say('noStudyAskedDetail'), note: '', status: -1 };
}
