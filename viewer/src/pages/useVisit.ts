import { useState } from 'preact/hooks';
import type { DmpDocument } from '../api/findDocuments';
import { openVisit } from '../api/openVisit';
import { describeProblem, type Notice } from './describeProblem';
import { viewerAddress } from './viewerAddress';

/** Opens a document: its images come on loan, and the page becomes the viewer. `opening` is the id of the one under way. */
export function useVisit() {
  const [opening, setOpening] = useState('');
  const [refusal, setRefusal] = useState<Notice>();
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
  return { opening, refusal, open };
}
