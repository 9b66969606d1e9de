import { useEffect, useState } from 'preact/hooks';
import { findStudies, MOST_STUDIES, type StudyCriteria } from '../api/findStudies';
import type { DicomJson } from '../study/DicomJson';
import { formatDate } from '../study/formatDate';
import { formatName } from '../study/formatName';
import { readText } from '../study/readText';
import { TAG } from '../study/tags';
import { say } from '../words/say';
import { NoticePanel } from './NoticePanel';
import { useAnswer } from './useAnswer';
import { viewerAddress } from './viewerAddress';

const ANY: StudyCriteria = { patientName: '', patientId: '', date: '' };

/** Search the studies this node keeps; the newest are shown before anything is asked. */
export function StudySearch() {
  const [criteria, setCriteria] = useState(ANY);
  const { value: studies, notice, isAsking, ask } = useAnswer<DicomJson[]>();
  const search = () => ask(() => findStudies(criteria));
  useEffect(search, []);
  const field = (key: keyof StudyCriteria) => ({
    value: criteria[key],
    autocomplete: 'off',
    maxLength: 64,
    onInput: (event: { currentTarget: HTMLInputElement }) =>
      setCriteria({ ...criteria, [key]: event.currentTarget.value }),
  });
  return (
    <section class="panel" aria-labelledby="held-here">
      <h1 id="held-here">{say('heldHere')}</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          search();
        }}
      >
        <label>
          <span>{say('patientName')}</span>
          <input type="search" {...field('patientName')} />
        </label>
        <label>
          <span>{say('patientId')}</span>
          <input type="search" {...field('patientId')} />
        </label>
        <label>
          <span>{say('studyDate')}</span>
          <input type="date" {...field('date')} />
        </label>
        <button type="submit" class="primary">
          {say('search')}
        </button>
      </form>
      {isAsking && !studies && <p role="status">{say('searching')}</p>}
      {notice && <NoticePanel notice={notice} onRetry={search} />}
      {studies && !studies.length && <p role="status">{say('nothingFound')}</p>}
      {studies && studies.length > 0 && <StudyTable studies={studies} />}
      {studies && studies.length >= MOST_STUDIES && <p class="muted">{say('firstOnly', { n: MOST_STUDIES })}</p>}
    </section>
  );
}

function StudyTable({ studies }: { studies: DicomJson[] }) {
  const newestFirst = [...studies].sort((a, b) => readText(b, TAG.studyDate).localeCompare(readText(a, TAG.studyDate)));
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>{say('patientName')}</th>
            <th>{say('patientId')}</th>
            <th>{say('studyDate')}</th>
            <th>{say('modalities')}</th>
            <th>{say('description')}</th>
            <th class="number">{say('images')}</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {newestFirst.map((study) => {
            const uid = readText(study, TAG.studyUid);
            const name = formatName(readText(study, TAG.patientName)) || say('unknownPatient');
            return (
              <tr key={uid}>
                <td>
                  <b>{name}</b>
                </td>
                <td>{readText(study, TAG.patientId)}</td>
                <td>{formatDate(readText(study, TAG.studyDate))}</td>
                <td>
                  {(study[TAG.modalitiesInStudy]?.Value ?? []).map((modality) => (
                    <span class="badge" key={String(modality)}>
                      {String(modality)}
                    </span>
                  ))}
                </td>
                <td>{readText(study, TAG.studyDescription)}</td>
                <td class="number">{readText(study, TAG.studyInstances)}</td>
                <td class="act">
                  <a class="button" href={viewerAddress(uid)} aria-label={`${say('open')} ${name}`}>
                    {say('open')}
                  </a>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
