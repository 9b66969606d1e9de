import { useEffect, useRef } from 'preact/hooks';
import { checkReport } from '../api/checkReport';
import { say } from '../words/say';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';

interface Props {
  /** Where it is. */
  address: string;
  onClose: () => void;
}

/** The report over the images, in a frame: it is a document of its own, which this page never reads. */
export function ReportPanel({ address, onClose }: Props) {
  const { value: isThere, notice, ask } = useAnswer<true>();
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    close.current?.focus();
    ask(() => checkReport(address));
  }, [address]);
  const isAbsent = notice?.status === 404;
  return (
    <section
      class="report"
      aria-label={say('report')}
      onKeyDown={(event) => {
        event.stopPropagation();
        if (event.key === 'Escape') onClose();
      }}
    >
      <div class="heading">
        <h2>{say('report')}</h2>
        {isThere && (
          <a class="button" href={address} target="_blank" rel="noreferrer">
            {say('openApart')}
          </a>
        )}
        <button type="button" ref={close} onClick={onClose}>
          {say('close')}
        </button>
      </div>
      {!isThere && !notice && <p role="status">{say('loading')}</p>}
      {notice && (
        <NoticePanel
          notice={isAbsent ? { ...notice, title: say('reportAbsent'), detail: say('reportAbsentDetail') } : notice}
        />
      )}
      {isThere && <iframe src={address} title={say('report')} />}
    </section>
  );
}
