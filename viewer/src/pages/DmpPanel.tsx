import { useState } from 'preact/hooks';
import { type DmpDocument, findDocuments } from '../api/findDocuments';
import { openVisit } from '../api/openVisit';
import { formatDate } from '../study/formatDate';
import { say } from '../words/say';
import { describeProblem, type Notice } from './describeProblem';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';
import { viewerAddress } from './viewerAddress';

/** What the national record lists for a patient; "open" asks for the images and goes to the viewer. */
export function DmpPanel() {
  const [ins, setIns] = useState('');
  const [opening, setOpening] = useState('');
  const [refusal, setRefusal] = useState<Notice>();
  const { value: documents, notice, isAsking, ask } = useAnswer<DmpDocument[]>();
  const list = () => ask(() => findDocuments(ins.replaceAll(/\s/g, '').toUpperCase()));
  const open = async (document: DmpDocument) => {
    setOpening(document.document_id);
    setRefusal(undefined);
    try {
      const visit = await openVisit(document.document_id);
      location.assign(viewerAddress(visit.study_uid, visit.visit_id));
    } catch (error) {
      setRefusal(describeProblem(error));
      setOpening('');
    }
  };
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
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>{say('title')}</th>
                <th>{say('created')}</th>
                <th>{say('modalities')}</th>
                <th>{say('regions')}</th>
                <th>{say('author')}</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {documents.map((document) => (
                <tr key={document.document_id}>
                  <td>
                    <b>{document.title}</b>
                    <div class="muted">{document.description}</div>
                  </td>
                  <td>{formatDate(document.created)}</td>
                  <td>
                    {document.modalities.map((modality) => (
                      <span class="badge" key={modality}>
                        {modality}
                      </span>
                    ))}
                  </td>
                  <td>{document.regions.join(', ')}</td>
                  <td>{document.author}</td>
                  <td class="act">
                    <button type="button" disabled={opening !== ''} onClick={() => void open(document)}>
                      {opening === document.document_id ? say('opening') : say('open')}
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
