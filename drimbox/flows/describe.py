"""Someone asks what is in a study: the metadata of its instances, in the DICOM JSON model or as XML.

Reading them out of the instances is what makes viewers wait, so the metadata of a series are written once, packed, when
it has been quiet for a while or when somebody asks, and served from there as long as the series is what it was. Always
all attributes, never some.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from drimbox import __version__, clock
from drimbox.dicom.json_model import read_metadata
from drimbox.dicom.packed_json import Packed, Packer
from drimbox.dicom.part10 import Readable
from drimbox.dicom.series_json import SeriesJson
from drimbox.dicom.xml_model import build_xml
from drimbox.errors import Corrupt, DrimboxError, Malformed, NotFound, TooLarge
from drimbox.flows.admit import Admit
from drimbox.model import Credentials
from drimbox.storage.archive import Archive
from drimbox.storage.index import Held
from drimbox.storage.metadata import Revision, SeriesKey

log = logging.getLogger(__name__)

BATCH: Final = 16
"""Instances whose metadata are read by one trip to a thread: some 10 ms of work and 200 KiB of JSON."""

QUIET_S: Final = 5.0
"""How long a series must have been the same before its metadata are written ahead."""

_POLL_S: Final = 1.0
_PACE, _PACE_RECEIVING = 3.0, 30.0
_SHRINK_S: Final = 600.0


def rest_s(worked_s: float, *, while_receiving: bool) -> float:
    """How long writing ahead rests after it worked: others come first, and images that arrive before all.

    They wait for the same interpreter lock: with the shorter rest, an archive that had much to write ahead received a
    tenth less.
    """
    return worked_s * (_PACE_RECEIVING if while_receiving else _PACE)


@dataclass(frozen=True)
class Description:
    """Metadata at hand: those of one series. kept_at: of its newest instance, seconds since 1970."""

    packed: Packed
    kept_at: float


@dataclass(frozen=True)
class Describe:
    """Tell the metadata of one archive. study_uid: as for `Retrieve`. root: what bulk data URIs begin with."""

    archive: Archive
    admit: Admit
    root: str
    study_uid: str = ""

    # --- Stories --------------------------------------------------------------------------------------------------

    async def series(self, credentials: Credentials, study: str, series: str = "") -> list[Revision]:
        """The series of a study, or one, as they are now. Raises NotFound."""
        await self._admitted(credentials, study, series)
        await self.archive.caught_up()
        found = self.archive.metadata.revisions(study, series)
        if not found:
            raise NotFound("series" if series else "study", "not held here")
        return found

    async def instances(self, credentials: Credentials, study: str, series: str = "", sop: str = "") -> list[Held]:
        """The instances of a study, of a series, or one of them. Raises NotFound."""
        await self._admitted(credentials, study, series)
        held = await self.archive.held(study, series, sop)
        if not held:
            raise NotFound("instance" if sop else "series" if series else "study", "not held here")
        return held

    async def _admitted(self, credentials: Credentials, study: str, series: str) -> None:
        await self.admit.images(credentials, study, f"metadata {series}".strip())
        if self.study_uid not in ("", study):
            raise NotFound("study", "not held here")

    # --- What was written, or is made, once admitted --------------------------------------------------------------

    @property
    def form(self) -> str:
        """A short name of what metadata depend on beside the instances."""
        return hashlib.sha256(f"{__version__}\n{self.root}".encode()).hexdigest()[:16]

    def written(self, study: str, revision: Revision) -> Description | None:
        """The metadata of a series if they are at hand: a read of microseconds."""
        found = self.archive.metadata.read(SeriesKey(study, revision.series_uid, self.form), revision)
        return Description(*found) if found else None

    async def made(self, study: str, revision: Revision, *, ahead: bool = False) -> Description:
        """The metadata of a series, written now if they were not. Raises Corrupt, NotFound.

        Those who ask for the same at once wait for one of them. ahead: nobody asked, so rest between the batches.
        """
        key = SeriesKey(study, revision.series_uid, self.form)
        async with self.archive.metadata.building(key):
            if found := self.written(study, revision):
                return found
            held = await self.archive.held(study, revision.series_uid)
            if not held:
                raise NotFound("series", "not held here")
            packer, slices, text = Packer(), SeriesJson(), b""
            for start in range(0, len(held) + BATCH, BATCH):  # each batch is packed while the next is read
                began, kept = clock.ticks(), self.archive.kept
                reading = asyncio.to_thread(self._json, held[start : start + BATCH], slices)
                text, _ = await asyncio.gather(reading, asyncio.to_thread(packer.add, text))
                if ahead:
                    await asyncio.sleep(rest_s(clock.ticks() - began, while_receiving=self.archive.kept != kept))
            packed, newest = packer.packed(), max(one.kept_at for one in held)
            # The revision was told before the instances were listed: what came between makes this old, never wrong.
            await asyncio.to_thread(self.archive.metadata.write, key, revision, packed, newest)
            return Description(packed, newest)

    async def read_json(self, held: Sequence[Held]) -> bytes:
        """A JSON array of the metadata of a few instances. Raises Corrupt."""
        return b"[" + await asyncio.to_thread(self._json, held, SeriesJson()) + b"]"

    async def read_xml(self, held: Sequence[Held]) -> AsyncGenerator[tuple[Held, bytes], None]:
        """Each instance with its document in the Native DICOM Model. Raises Corrupt."""
        for start in range(0, len(held), BATCH):
            batch = held[start : start + BATCH]
            documents = await asyncio.to_thread(lambda batch: [self._xml(one) for one in batch], batch)
            for one, document in zip(batch, documents, strict=True):
                yield one, document

    def _json(self, held: Sequence[Held], slices: SeriesJson) -> bytes:
        def read(one: Held) -> bytes:
            return self._read(one, lambda file, url: slices.text(file, url, one.pixel_data_offset))

        return b",".join(map(read, held))

    def _xml(self, held: Held) -> bytes:
        return self._read(held, lambda file, url: build_xml(read_metadata(file, url, as_written=True)))

    def _read(self, held: Held, read: Callable[[Readable, str], bytes]) -> bytes:
        ref = held.ref
        url = f"{self.root}/studies/{ref.study_uid}/series/{ref.series_uid}/instances/{ref.sop_uid}/bulkdata"
        with self.archive.open(held) as file:
            try:
                return read(file, url)
            except (Malformed, TooLarge) as error:  # it could be read when it was kept
                raise Corrupt("instance", "its metadata cannot be read", detail=f"{held.file}: {error}") from error

    # --- Ahead of those who ask -----------------------------------------------------------------------------------

    async def work(self, most_bytes: int) -> None:
        """Write the metadata of series that are quiet, remove those of series that are gone; until cancelled.

        most_bytes: what all that is written may take. Nothing that fails here keeps the rest from being done.
        """
        shrink_at = clock.ticks()
        while True:
            try:
                await self.archive.metadata.remove_gone()
                if clock.ticks() >= shrink_at:
                    await asyncio.to_thread(self.archive.metadata.shrink, most_bytes)
                    shrink_at = clock.ticks() + _SHRINK_S
                if await self.write_due(clock.now().timestamp() - QUIET_S):
                    continue
            except (DrimboxError, OSError) as error:
                log.warning("metadata_not_written_ahead", extra={"reason": str(error)})
            except Exception:  # the outermost loop of this worker
                log.exception("metadata_failed", extra={"incident": secrets.token_hex(8)})
            await asyncio.sleep(_POLL_S)

    async def write_due(self, before: float) -> int:
        """Write the metadata of some series that have not changed since `before`; how many there were."""
        due = await self.archive.metadata.due(before, most=20)
        for study, revision in due:
            try:
                await self.made(study, revision, ahead=True)
            except (Corrupt, NotFound) as error:  # whoever asks is told so; there is nothing to write
                log.warning("metadata_not_written_ahead", extra={"reason": str(error)})
            await self.archive.metadata.settle(study, revision)
        return len(due)
