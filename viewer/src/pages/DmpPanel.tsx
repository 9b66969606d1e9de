import { useState } from 'preact/hooks';
import { type DmpDocument, findDocuments } from '../api/findDocuments';
import { say } from '../words/say';
import { DocumentTable } from './DocumentTable';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';
import { useVisit } from './useVisit';

/** What the national record lists for a patient; "open" asks for the images and goes to the viewer. */
export function DmpPanel() {
  const [ins, setIns] = useState('');
  const { opening, refusal, open } = useVisit();
  const { value: documents, notice, isAsking, ask } = useAnswer<DmpDocument[]>();
  const list = () => ask(() => findDocuments(ins.replaceAll(/\s/g, '').toUpperCase()));
  const isAbsent = notice?.status === 404 || notice?.status === 503;
  return (
    <section class="panel" aria-labelledby="dmp">
      <h2 id="dmp">{say('dmp')}</h2>
      <p class="muted">{say('dmpHint')}</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          list();
        }}
      >
        <label>
          <span>{say('ins')}</span>
          <input
            type="text"
            inputMode="numeric"
            autocomplete="off"
            required
            // Corsican births have 2A or 2B in the matricule; spaces as printed on the card are accepted.
            pattern="\s*([0-9]\s*){6}[0-9ABab]\s*([0-9]\s*){6}(([0-9]\s*){2})?"
            maxLength={30}
            placeholder={say('insFormat')}
            title={say('insFormat')}
            value={ins}
            onInput={(event) => setIns(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary">
          {say('list')}
        </button>
      </form>
      {isAsking && <p role="status">{say('searching')}</p>}
      {notice && <NoticePanel notice={isAbsent ? { ...notice, title: say('dmpAbsent'), detail: '' } : notice} />}
      {refusal && <NoticePanel notice={refusal} />}
      {documents && !documents.length && <p role="status">{say('noDocument')}</p>}
      {documents && documents.length > 0 && (
        <DocumentTable documents={documents} opening={opening} onOpen={(document) => void open(document)} />
      )}
    </section>
  );
}
