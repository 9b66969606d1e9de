import icon from '../icon.svg';
import { formatDate } from '../study/formatDate';
import { formatName } from '../study/formatName';
import type { Study } from '../study/Study';
import { language } from '../words/language';
import { say } from '../words/say';
import { sayIfKnown } from '../words/sayIfKnown';
import { switchLanguage } from '../words/switchLanguage';
import { withLanguage } from '../words/withLanguage';

interface Props {
  study?: Study | undefined;
  isViewer?: boolean;
  /** Two panes show two persons: say so. */
  isMixed?: boolean;
}

/** The band at the top of every page: whose images these are, and that they are not for diagnosis. */
export function PageHeader({ study, isViewer = false, isMixed = false }: Props) {
  return (
    <header>
      <a class="brand" href={withLanguage('/')} title={say('home')}>
        <img src={icon} alt="" width="28" height="28" />
        <span>{say('product')}</span>
      </a>
      {isViewer && !study && <span class="patient" />}
      {study && (
        <div class="patient">
          <b>{formatName(study.patientName) || say('unknownPatient')}</b>
          <span class="muted">
            {[
              study.birthDate && say('bornOn', { date: formatDate(study.birthDate) }),
              sayIfKnown('sex_', study.sex, ''),
              study.patientId,
            ]
              .filter(Boolean)
              .join(' · ')}
          </span>
        </div>
      )}
      {!isViewer && <span class="patient">{say('portalTitle')}</span>}
      {isMixed && <p class="warning">{say('differentPatients')}</p>}
      {isViewer && <p class="warning">{say('notForDiagnosis')}</p>}
      <a class="muted" href={switchLanguage(location.search, language)} lang={language === 'fr' ? 'en' : 'fr'}>
        {say('otherLanguage')}
      </a>
    </header>
  );
}
