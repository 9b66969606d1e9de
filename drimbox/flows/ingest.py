"""An instance arrives: by C-STORE, or on loan from another DRIMbox."""

from collections.abc import Callable
from dataclasses import dataclass

from drimbox.dicom.scan import Limits, Summary, scan
from drimbox.errors import Malformed
from drimbox.flows.admit import Admit, Proof
from drimbox.model import Credentials, Reader
from drimbox.storage.archive import Archive, Outcome, SetAside
from drimbox.storage.spool import Spool

__all__ = ["Ingest", "SetAside", "Spool"]  # doors learn the outcomes here: they do not import rooms


@dataclass(frozen=True)
class Ingest:
    """Bring instances into an archive. Serves C-STORE and images on loan; awaitable on any event loop."""

    archive: Archive
    admit: Admit
    max_object_bytes: int

    async def association(self, credentials: Credentials, proof: Proof | None = None) -> Reader:
        """Admit a sender. proof: of its user, when it names one. Raises Denied, Unidentified."""
        return await self.admit(credentials, "store", detail="association opened", proof=proof)

    async def refused(self, address: str, why: str) -> None:
        """Trace a sender that was turned away before it asked: its certificate is none of ours, say."""
        await self.admit.refused(Credentials("dicom", address), "store", why)

    async def finished(self, reader: Reader, stored: int, failed: int) -> None:
        """Trace what an association brought."""
        await self.admit.outcome(reader, "store", failed > 0, detail=f"{stored} stored, {failed} failed")

    def open(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str) -> Spool:
        """A spool for the data set bytes of one instance. Raises NoSpace, Unavailable."""
        return self.archive.open_spool(sop_class_uid, sop_uid, transfer_syntax, self.max_object_bytes)

    async def instance(self, spool: Spool, expect: Callable[[Summary], None] | None = None) -> Outcome:
        """Return once the instance would survive a power cut. The spool is ours from here on.

        expect: raises when a sound instance is not the one that was asked for.
        Raises Malformed, TooLarge, NoSpace, Unavailable. If it raises, nothing is visible.
        """

        def summarise(spool: Spool, limits: Limits) -> Summary:
            summary = scan(spool, limits)
            _announced(spool, summary)
            if expect:
                expect(summary)
            return summary

        return await self.archive.keep(spool, summarise)


def _announced(spool: Spool, summary: Summary) -> None:
    """The data set must be what the command, or the part, said it is (PS3.4 §B.2.3)."""
    if (spool.preface.sop_class_uid, spool.preface.sop_uid) != (summary.sop_class_uid, summary.ref.sop_uid):
        raise Malformed("data set", "its SOP Class or Instance UID is not the one that was announced")
