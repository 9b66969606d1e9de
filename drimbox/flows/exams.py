"""What is true of an exam now: its report, its images, and whether the two speak of the same thing (drim-m.md B.4)."""

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from drimbox import clock
from drimbox.dicom.attributes import Attributes, text
from drimbox.dicom.match import OneOf, Query
from drimbox.errors import Malformed, NotFound, TooLarge
from drimbox.flows.bring import Bring
from drimbox.flows.decide import Images, Truth, unpublishable
from drimbox.kos.codes import INS_NAMESPACES, KEY_OBJECT_SELECTION
from drimbox.kos.document import MAX_BYTES
from drimbox.kos.gather import gather_series
from drimbox.kos.manifest import KeySelection, Manifest, ManifestSeries, new_uid
from drimbox.kos.read import is_selection_of_images, read_manifest
from drimbox.kos.selection import find_selection
from drimbox.kos.zone import offset_of
from drimbox.model import Exam, Report
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.outbox import STILL_ARRIVING
from drimbox.storage.reports import Reports

_MAX_INSTANCES: Final = 200_000
_FEW: Final = 10
_FROM_PACS: Final = "study: its images are being brought in from the PACS, or wait for their turn"
_NO_IMAGES: Final[Attributes] = {}
_MATRICULE: Final = 13  # characters of an INS; two more are its key, which not everybody writes

References = frozenset[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What `Exams.look` found. report_id: 0 without a report. study: its attributes, empty without images.

    quiet_at: when the study will have been quiet long enough, in seconds since 1970. waiting: what for, until then.
    """

    study_uid: str
    truth: Truth
    report_id: int
    study: Attributes
    series: tuple[ManifestSeries, ...]
    quiet_at: float = 0
    selections: tuple[KeySelection, ...] = ()
    waiting: str = STILL_ARRIVING


@dataclass(frozen=True, slots=True)
class _Before:
    """What is true of an exam before its images are here. quiet_at: as in `Found`."""

    images: Images
    contradiction: str = ""
    quiet_at: float = 0
    elsewhere: bool = False


@dataclass(frozen=True)
class Exams:
    """Looks at reports and images, and makes the manifest of both.

    retrieve_base: the DICOMweb root other DRIMboxes reach us by; it goes into each manifest. bring: the way to the PACS
    of the centre, where images stay in it.
    """

    archive: Archive
    reports: Reports
    settings: Settings
    retrieve_base: str
    bring: Bring | None = None

    async def look(self, study_uid: str) -> Found:
        """What is true of the exam now.

        Raises Unavailable and Conflict when the PACS does not give its images (`Bring.have`), and as the PACS.
        """
        report_id, report = await self.reports.current(study_uid) or (0, None)
        is_cancelled = report is not None and await self.reports.is_cancelled(study_uid)
        listed: frozenset[str] | None = None
        if self.bring is not None:
            if report is None or is_cancelled or not report.to_dmp or unpublishable(report.patient):
                self.bring.forget(study_uid)
            else:
                before = await self._from_pacs(self.bring, study_uid, report)
                if isinstance(before, _Before):
                    truth = Truth(report, before.images, frozenset(), before.contradiction, before.elsewhere)
                    return Found(study_uid, truth, report_id, {}, (), before.quiet_at, waiting=_FROM_PACS)
                listed = before
        if report is None:
            return Found(study_uid, Truth(None, "none yet", frozenset()), 0, {}, ())
        if is_cancelled:
            return Found(study_uid, Truth(report, "none left", frozenset()), report_id, {}, ())
        try:
            study = await self.archive.study(study_uid)
        except NotFound:
            if await self.archive.rejected(study_uid):
                return Found(study_uid, Truth(report, "none left", frozenset()), report_id, {}, ())
            elsewhere = await self._is_elsewhere(exam_of(report, study_uid))
            return Found(study_uid, Truth(report, "none yet", frozenset(), "", elsewhere), report_id, {}, ())
        series, selections = await self._series(study_uid, listed)
        images, quiet_at = await self._images(study_uid, series)
        contradiction = await self._contradiction(study, report, exam_of(report, study_uid, study))
        truth = Truth(report, images, references(series), contradiction)
        return Found(study_uid, truth, report_id, study, series, quiet_at, selections)

    async def _from_pacs(self, bring: Bring, study_uid: str, report: Report) -> "_Before | frozenset[str]":
        """The instances the PACS lists, all of which came or were taken out of use; or what is true before that."""
        again_s, exam = self.settings.publish.retry_first_s, exam_of(report, study_uid)
        if place := bring.place(study_uid):
            return _Before("arriving", quiet_at=clock.now().timestamp() + again_s * place)
        listing = await bring.listing(study_uid)
        known = await self.archive.known(study_uid)
        if not listing.instances:
            if await self.archive.held(study_uid):
                return _Before("here", "study: the PACS lists none of its images, which are held here: see what it has")
            if known:  # and none of it is shown: all was taken out of use
                return frozenset()
            number = exam.accession.value if exam.accession else ""
            return _Before("nowhere", elsewhere=bool(number) and await bring.has_elsewhere(study_uid, number))
        if reason := await self._contradiction(listing.study, report, exam_of(report, study_uid, listing.study)):
            return _Before("here", reason)
        if not bring.have(study_uid, listing, known):
            return _Before("arriving", quiet_at=clock.now().timestamp() + again_s * bring.place(study_uid))
        return listing.instances

    async def _is_elsewhere(self, exam: Exam) -> bool:
        """Is the accession number of the exam that of another study we hold?"""
        if exam.accession is None:
            return False
        same = {"00080050": OneOf((exam.accession.value,))}
        found = await self.archive.search(Query("study", same, None, _FEW, 0))
        return any(text(study, "0020000D") != exam.study_uid for study in found)

    async def _images(self, study_uid: str, series: tuple[ManifestSeries, ...]) -> tuple[Images, float]:
        """Are images there, and still coming? A date to come is a clock that was set back: no reason to wait."""
        newest, now = await self.archive.newest(study_uid), clock.now().timestamp()
        quiet_at = newest + self.settings.publish.settle_s
        if newest <= now < quiet_at:
            return "arriving", quiet_at
        return ("here" if series else "none left"), 0

    async def _series(
        self, study_uid: str, listed: frozenset[str] | None = None
    ) -> tuple[tuple[ManifestSeries, ...], tuple[KeySelection, ...]]:
        """Evidence is what we hold, without rejection notes and manifests of others; and key images (drim-m.md B.5).

        listed: where images stay in the PACS, what it has of the study; nothing else is shown.
        """
        query = Query("instance", {"0020000D": OneOf((study_uid,))}, None, _MAX_INSTANCES, 0)
        items = await self.archive.search(query)
        left_out, selections = set(), []
        for held in await self.archive.held(study_uid):
            if held.sop_class_uid == KEY_OBJECT_SELECTION:
                data = await self.archive.read(held, 0, min(held.size_bytes, MAX_BYTES + 1))  # one more is too large
                if not await asyncio.to_thread(is_selection_of_images, data):
                    left_out.add(held.sop_uid)
                elif selection := await asyncio.to_thread(_selection, data):
                    selections.append(selection)
        base = f"{self.retrieve_base}/studies/{study_uid}/series"
        shown = (uid for item in items if (uid := text(item, "00080018")) not in left_out)
        kept = frozenset(shown) if listed is None else frozenset(shown) & listed
        shown_items = (item for item in items if text(item, "00080018") in kept)
        return gather_series(shown_items, base), tuple(one for one in selections if one.sop_uid in kept)

    async def _contradiction(self, study: Attributes, report: Report, exam: Exam) -> str:
        """Why images and report are not of the same exam of the same patient, or nothing (drim-m.md B.4)."""
        accession, patient_id = text(study, "00080050"), text(study, "00100020")
        told = [exam.accession] if exam.accession else [order.accession for order in exam.perhaps if order.accession]
        if accession and told and accession not in (number.value for number in told):
            return "accession number: the images and the report do not carry the same one: correct one of them"
        local_id, ins = report.patient.local_id, report.patient.ins
        if ins and (patient_id == ins.value or text(study, "00100021") in INS_NAMESPACES.values()):
            if patient_id[:_MATRICULE] != ins.value[:_MATRICULE]:
                return "INS: the images and the report do not carry the same one: correct one of them"
        elif patient_id and local_id and patient_id not in await self.reports.names_of(local_id):
            return "patient identifier: the images and the report do not carry the same one: correct one of them"
        return ""

    def manifest(self, found: Found, report: Report, exam: Exam, version: int, now: datetime) -> Manifest:
        """The manifest of what was found; its UIDs are new. version: counts from 1."""
        study = found.study
        date, time, told = (text(study, tag) for tag in ("00080020", "00080030", "00080201"))
        return Manifest(
            uid=self.new_uid(),
            series_uid=self.new_uid(),
            study_uid=exam.study_uid,
            study_date=date,
            study_time=time,
            study_description=text(study, "00081030"),
            study_id=text(study, "00200010"),
            referring_physician=text(study, "00080090"),
            accession=exam.accession,
            order=exam.order,
            patient=report.patient,
            created=now.astimezone(offset_of(date, time, told, self.settings.kos.time_zone, now)),
            institution=self.settings.kos.institution or report.legal_structure.name,
            structure_id=report.legal_structure.id.value,
            manufacturer="DRIMbox",
            instance_number=version,
            act=exam.acts[0].meaning if exam.acts else "",
            series=found.series,
            selections=found.selections,
            regions=exam.regions,
            location_uid=self.settings.kos.location_uid,
        )

    def new_uid(self) -> str:
        """A UID nobody used before."""
        return new_uid(self.settings.kos.uid_root, UUID(bytes=secrets.token_bytes(16), version=4))


def _selection(data: bytes) -> KeySelection | None:
    """What a KOS points at for a reader; None when that cannot be read: it is still one of the instances."""
    try:
        return find_selection(data)
    except (Malformed, TooLarge):
        return None


def exam_of(report: Report, study_uid: str, study: Attributes = _NO_IMAGES) -> Exam:
    """What the report says of this study; where it leaves open which order it was, the images decide.

    study: attributes of the images, when there are any.
    """
    exam = next(exam for exam in report.exams if exam.study_uid == study_uid)
    number = text(study, "00080050")
    for order in exam.perhaps if exam.accession is None and number else ():
        if order.accession is not None and order.accession.value == number:
            return replace(exam, accession=order.accession, order=order.number)
    return exam


def references(series: tuple[ManifestSeries, ...]) -> References:
    """What a manifest refers to: it is this that makes two of them different, not dates and ids."""
    return frozenset((one.series_uid, one.retrieve_url, i.sop_uid) for one in series for i in one.instances)


def references_of(manifest: bytes) -> References:
    """The same, of a manifest that was published."""
    return references(read_manifest(manifest).series)


def version_of(manifest: bytes) -> int:
    """Its number among the versions, as `Exams.manifest` counts them."""
    return read_manifest(manifest).instance_number


def modalities_of(series: tuple[ManifestSeries, ...]) -> tuple[str, ...]:
    """As the images say them, each once."""
    return tuple(dict.fromkeys(one.modality for one in series if one.modality))
