import type { DmpDocument } from '../api/findDocuments';
import { giveFile } from '../api/giveFile';
import { say } from '../words/say';
import { DocumentTable } from './DocumentTable';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';
import { useVisit } from './useVisit';

/** Opens an exam from a manifest that came as a file, without the national record. */
export function FilePanel() {
  const { value: documents, notice, isAsking, ask } = useAnswer<DmpDocument[]>();
  const { opening, refusal, open } = useVisit();
  return (
    <section class="panel" aria-labelledby="file">
      <h2 id="file">{say('fromFile')}</h2>
      <label>
        <span>{say('fromFileHint')}</span>
        <input
          type="file"
          accept=".dcm,.zip,application/dicom,application/zip"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) ask(() => giveFile(file));
            event.currentTarget.value = '';
          }}
        />
      </label>
      {isAsking && <p role="status">{say('loading')}</p>}
      {notice && <NoticePanel notice={notice} />}
      {refusal && <NoticePanel notice={refusal} />}
      {documents && (
        <DocumentTable documents={documents} opening={opening} onOpen={(document) => void open(document)} />
      )}
    </section>
  );
}
