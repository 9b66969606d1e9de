import { say } from '../words/say';
import { DmpPanel } from './DmpPanel';
import { FilePanel } from './FilePanel';
import { OutboxPanel } from './OutboxPanel';
import { PageHeader } from './PageHeader';
import { StudySearch } from './StudySearch';

/** The home page: studies held here, the patient's record elsewhere, and what the node owes the DMP. */
export function PortalPage() {
  return (
    <>
      <PageHeader />
      <main>
        <StudySearch />
        <DmpPanel />
        <FilePanel />
        <OutboxPanel />
        <footer class="muted">{say('notForDiagnosis')}</footer>
      </main>
    </>
  );
}
