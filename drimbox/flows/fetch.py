"""A study is brought in from the PACS of the centre, because something of ours needs it."""

import logging
from dataclasses import dataclass

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.uid import checked_uid
from drimbox.errors import DrimboxError, NoSpace, Unavailable
from drimbox.flows.ingest import Ingest, SetAside
from drimbox.model import Credentials
from drimbox.pacs.client import Listing, Retrieved, pacs_scu
from drimbox.settings import Settings

log = logging.getLogger(__name__)

_SUCCESS, _SET_ASIDE, _CANNOT_UNDERSTAND = 0x0000, 0xB000, 0xC000  # PS3.4 table B.2-1


@dataclass(frozen=True)
class Fetch:
    """Ask the PACS what it holds, and have its studies. Each raises Unavailable when none is configured, or answers."""

    ingest: Ingest
    settings: Settings

    async def find_studies(
        self, credentials: Credentials, *, study_uid: str = "", accession_number: str = "", patient_id: str = ""
    ) -> list[Attributes]:
        """What the PACS holds of this study, order or patient, as DICOM JSON. Raises TooLarge."""
        await self.ingest.admit(credentials, "search", study_uid, "studies of the PACS")
        pacs = pacs_scu(self.settings.pacs, self.settings.dicom.ae_title)
        return await pacs.find_studies(study_uid=study_uid, accession_number=accession_number, patient_id=patient_id)

    async def listing(self, credentials: Credentials, study_uid: str) -> Listing:
        """Which instances the PACS holds of a study. Raises TooLarge."""
        await self.ingest.admit(credentials, "search", checked_uid(study_uid), "instances of the PACS")
        return await pacs_scu(self.settings.pacs, self.settings.dicom.ae_title).list_instances(study_uid)

    async def retrieve(self, credentials: Credentials, study_uid: str, series_uid: str = "") -> Retrieved:
        """Return once the PACS has sent all it has of a study, or of one series; what arrived is durable.

        By C-MOVE the instances come in by the DIMSE door, as from anyone. Nothing at all is an outcome too: the study
        is not there. Raises NotAcceptable, NoSpace, TooLarge.
        """
        what = f"from the PACS {checked_uid(series_uid)}" if series_uid else "from the PACS"
        await self.ingest.admit(credentials, "retrieve", checked_uid(study_uid), what)
        ours = self.settings.dicom.ae_title
        pacs = pacs_scu(self.settings.pacs, ours)
        if self.settings.pacs.retrieve_by == "move":
            return await pacs.move(study_uid, ours, series_uid)
        return await pacs.get(study_uid, self._take, series_uid)

    async def _take(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str, data_set: memoryview) -> int:
        """Keep an instance; the status of its C-STORE. Raises NoSpace, Unavailable: then no other would be kept."""
        try:
            spool = self.ingest.open(sop_class_uid, checked_uid(sop_uid), transfer_syntax)
            try:
                spool.write(data_set)
            except BaseException:
                spool.discard()
                raise
            outcome = await self.ingest.instance(spool)
        except (NoSpace, Unavailable):
            raise
        except DrimboxError as refusal:
            extra = {"what": refusal.what, "why": refusal.why, "detail": refusal.detail}
            log.warning("operation_refused", extra=extra | {"address": self.settings.pacs.host})
            return _CANNOT_UNDERSTAND
        return _SET_ASIDE if isinstance(outcome, SetAside) else _SUCCESS
