import type { DmpDocument } from '../api/findDocuments';
import { formatDate } from '../study/formatDate';
import { say } from '../words/say';

interface Props {
  documents: DmpDocument[];
  /** The id of the document that is being opened. */
  opening: string;
  onOpen: (document: DmpDocument) => void;
}

/** Documents that can be opened, one line each; of whom they are, where they say it themselves. */
export function DocumentTable({ documents, opening, onOpen }: Props) {
  const isNamed = documents.some((document) => document.patient !== undefined);
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {isNamed && <th>{say('patientName')}</th>}
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
              {isNamed && (
                <td>
                  <b>{document.patient}</b>
                  <div class="muted">
                    {document.birth_date && say('bornOn', { date: formatDate(document.birth_date) })}
                  </div>
                </td>
              )}
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
                <button type="button" disabled={opening !== ''} onClick={() => onOpen(document)}>
                  {opening === document.document_id ? say('opening') : say('open')}
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
