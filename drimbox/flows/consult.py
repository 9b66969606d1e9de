"""Our reader asks for images held elsewhere: found in the DMP, fetched from the box that holds them, shown on loan."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from drimbox import clock
from drimbox.dicom.scan import Summary
from drimbox.dmp.client import DmpClient
from drimbox.dmp.vihf import Speaker
from drimbox.errors import Conflict, DrimboxError, Malformed, NotFound, TooLarge, Unavailable, Unidentified
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.kos.manifest import Manifest, ManifestSeries
from drimbox.kos.read import read_manifest
from drimbox.model import Code, Credentials, Exam, Identifier, Professional, Structure
from drimbox.peers.known import locate
from drimbox.peers.wado_client import Incoming, PeerClient
from drimbox.settings import Settings
from drimbox.storage.archive import Outcome
from drimbox.storage.visits import Visit, Visits
from drimbox.xds import codes
from drimbox.xds.answers import Listed
from drimbox.xds.cda_body import ReportBody, read_body
from drimbox.xds.entry import exam_references

log = logging.getLogger(__name__)

VISIT_S: Final = 8 * 3600.0
_PARALLEL_SERIES: Final = 4
_FILE: Final = "file-"  # begins the id of a document whose manifest is here already


def new_file_id() -> str:
    """An id for a document whose manifest came as a file, to be kept in its place among the listed ones."""
    return _FILE + secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class InContext:
    """A listed document and the patient it was listed for."""

    ins: Identifier
    listed: Listed


_IN_CONTEXT: Final = TypeAdapter(InContext)


@dataclass
class Landing:
    """How far the images of one visit have come. Lost with the process: a restarted node fetches again."""

    series: dict[str, asyncio.Event]
    expected: int
    task: asyncio.Task[None] | None = None
    landed: int = 0
    missing: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Consult:
    """Search, open, fetch, show. Images land in the visiting archive through the same Ingest as every other."""

    visits: Visits
    ingest: Ingest
    admit: Admit
    dmp: DmpClient
    peers: PeerClient
    settings: Settings
    landings: dict[str, Landing] = field(default_factory=dict)

    async def documents(self, credentials: Credentials, ins: Identifier) -> list[dict[str, Any]]:
        """What the DMP lists for this patient, newest first. Raises Unavailable when the DMP does not answer."""
        await self.admit(credentials, "consult", detail="documents of a patient listed")
        found = []
        for listed in await self.dmp.find(ins, self._speaker()):
            document_id = secrets.token_urlsafe(16)
            await self.visits.list_document(document_id, orjson.dumps(InContext(ins, listed)))
            found.append({"document_id": document_id, **_shown(listed)})
        return sorted(found, key=lambda item: str(item["created"]), reverse=True)

    async def open(self, credentials: Credentials, document_id: str) -> dict[str, str]:
        """Begin a visit: fetch the manifest, check whose it is, let the images come.

        Raises Conflict when the manifest is of another patient than the one in context (P16), Denied when it names a
        DRIMbox that is not known, NotFound, Unavailable, Malformed.
        """
        kept = await self.visits.document(document_id)
        if document_id.startswith(_FILE):
            data, manifest = kept, await asyncio.to_thread(read_manifest, kept)
            await self.admit(credentials, "consult", manifest.study_uid, "manifest of a file opened")
        else:
            data, manifest = await self._fetched(credentials, _IN_CONTEXT.validate_json(kept))
        for series in manifest.series:
            locate(self.settings.peers.known, series.retrieve_url)
        visit = Visit(secrets.token_urlsafe(24), manifest.study_uid, data)
        await self.visits.open(visit, VISIT_S)
        self._land(visit.visit_id, manifest)
        return {
            "visit_id": visit.visit_id,
            "study_uid": visit.study_uid,
            "dicomweb_url": f"/visits/{visit.visit_id}/dicom-web",
        }

    async def _fetched(self, credentials: Credentials, context: InContext) -> tuple[bytes, Manifest]:
        """The manifest of a listed document, of the patient it was listed for."""
        await self.admit(credentials, "consult", _study(context.listed), "document opened")
        data = await self.dmp.fetch(context.listed, self._speaker())
        manifest = await asyncio.to_thread(read_manifest, data)
        if manifest.patient.ins is None or manifest.patient.ins.value != context.ins.value:
            raise Conflict("manifest", "it is of another patient than the one in context: nothing was fetched")
        return data, manifest

    async def visit(self, visit_id: str, series_uid: str, *, listing: bool, wait_s: float = 20) -> Visit:
        """The visit, once what is asked for is here: the series named, else the whole study.

        listing: a list of what is here is wanted, which may still grow; it waits for the first series only.
        Raises NotFound, or Unavailable while images are still on their way after `wait_s`.
        """
        visit = await self.visits.find(visit_id)
        landing = await self._landing(visit)
        if series_uid in landing.series:
            awaited = [landing.series[series_uid].wait()]
        else:
            awaited = [event.wait() for event in landing.series.values()]
        waiting = [asyncio.ensure_future(wait) for wait in awaited]
        until = asyncio.FIRST_COMPLETED if listing else asyncio.ALL_COMPLETED
        done, late = await asyncio.wait(waiting, timeout=wait_s, return_when=until)
        for wait in late:
            wait.cancel()
        if not done or (late and not listing):
            raise Unavailable("visit", "images are still on their way: ask again")
        return visit

    async def progress(self, credentials: Credentials, visit_id: str) -> dict[str, Any]:
        """How far a visit has come: instances expected, landed, missing."""
        visit = await self.visits.find(visit_id)
        await self.admit(credentials, "consult", visit.study_uid, "visit looked at")
        landing = await self._landing(visit)
        return {
            "visit_id": visit_id,
            "study_uid": visit.study_uid,
            "expected": landing.expected,
            "landed": landing.landed,
            "missing": len(landing.missing),
            "complete": all(event.is_set() for event in landing.series.values()),
        }

    async def report(self, credentials: Credentials, visit_id: str) -> ReportBody:
        """The report of the exam of a visit, as the DMP has it: what shares the accession number of the manifest.

        Failing that, the study. It is fetched anew each time, and not kept. Raises NotFound, Conflict when it is of
        another patient (P16), Unavailable, and as `read_body`.
        """
        visit = await self.visits.find(visit_id)
        await self.admit.images(credentials, visit.study_uid, "report of a visit")
        manifest = await asyncio.to_thread(read_manifest, visit.manifest)
        ins = manifest.patient.ins
        if ins is None:
            raise NotFound("report", "the manifest carries no INS: nobody can be asked for it")
        references = exam_references(Exam(manifest.study_uid, manifest.accession))
        found = await self.dmp.find_by_reference(ins, self._speaker(), *references)
        listed = max(filter(_is_report, found), key=lambda one: one.created, default=None)
        if listed is None:
            raise NotFound("report", "the DMP lists none of this exam")
        cda = await self.dmp.fetch(listed, self._speaker())
        who = f"{manifest.patient.family} {manifest.patient.given}"
        return await asyncio.to_thread(read_body, cda, (listed.title, who, listed.institution), ins.value)

    async def _landing(self, visit: Visit) -> Landing:
        """How far the visit's images have come; they are fetched again when the node was restarted since."""
        if visit.visit_id not in self.landings:
            manifest = await asyncio.to_thread(read_manifest, visit.manifest)
            if visit.visit_id not in self.landings:  # no other request was quicker
                self._land(visit.visit_id, manifest)
        return self.landings[visit.visit_id]

    def _land(self, visit_id: str, manifest: Manifest) -> None:
        expected = sum(len(series.instances) for series in manifest.series)
        landing = Landing({series.series_uid: asyncio.Event() for series in manifest.series}, expected)
        self.landings[visit_id] = landing
        landing.task = asyncio.create_task(self._fetch(manifest, landing), name="landing")

    async def _fetch(self, manifest: Manifest, landing: Landing) -> None:
        gate = asyncio.Semaphore(_PARALLEL_SERIES)

        async def one(series: ManifestSeries) -> None:
            async with gate:
                try:
                    await self._fetch_series(manifest, series, landing)
                except DrimboxError as error:
                    log.warning("series_not_fetched", extra={"reason": str(error), "detail": error.detail})
                except Exception:  # a bug must not leave the other series, and who waits for them, behind
                    log.exception("series_failed", extra={"incident": secrets.token_hex(8)})
                finally:
                    landing.series[series.series_uid].set()

        await asyncio.gather(*(one(series) for series in manifest.series))
        log.info("visit_landed", extra={"landed": landing.landed, "missing": len(landing.missing)})

    async def _fetch_series(self, manifest: Manifest, series: ManifestSeries, landing: Landing) -> None:
        """Fetch one series into the visiting archive; what does not come is told as missing."""
        wanted = {instance.sop_uid for instance in series.instances}
        landing.missing |= wanted
        expect = _belongs(manifest.study_uid, series.series_uid, wanted)
        peer = locate(self.settings.peers.known, series.retrieve_url)
        parts = self.peers.fetch_series(peer, manifest.study_uid, series.series_uid, manifest.uid, "")
        async with aclosing(parts):
            async for incoming in parts:
                try:
                    kept = await self._keep(incoming, expect)
                except (Malformed, TooLarge, Conflict) as error:  # this one stays missing; the others may be sound
                    log.warning("instance_not_kept", extra={"reason": str(error)})
                    continue
                landing.missing.discard(kept.ref.sop_uid)
                landing.landed += 1

    async def _keep(self, incoming: Incoming, expect: Callable[[Summary], None]) -> Outcome:
        spool = self.ingest.open(incoming.sop_class_uid, incoming.sop_uid, incoming.transfer_syntax)
        try:
            async for chunk in incoming.chunks:
                spool.write(chunk)
        except BaseException:
            spool.discard()
            raise
        return await self.ingest.instance(spool, expect)

    async def expire(self) -> None:
        """End what has expired and remove its images: nothing of a loan stays."""
        ended, unvisited = await self.visits.end(clock.now().timestamp())
        await _end(landing for visit_id in ended if (landing := self.landings.pop(visit_id, None)))
        for study_uid in unvisited:
            await self.ingest.archive.forget(study_uid)

    async def stop(self) -> None:
        """Stop fetching."""
        await _end(self.landings.values())

    def _speaker(self) -> Speaker:
        """Who the DMP is told is asking. Raises Unidentified, or Unavailable while no structure is configured."""
        person = self.settings.auth.professional
        if person is None:
            raise Unidentified("professional", "nobody signed in, and auth.professional names nobody to consult as")
        if not self.settings.dmp.structures:
            raise Unavailable("DMP", "dmp.structures is empty: configure the care structure that consults")
        own = self.settings.dmp.structures[0]
        structure = Structure(Identifier(own.id, codes.STRUCTURES), own.name, Code(own.sector, codes.SECTORS))
        profession = Code(person.profession, codes.PROFESSIONS)
        professional = Professional(Identifier(person.id, codes.PROFESSIONALS), person.family, person.given, profession)
        return Speaker(professional, structure)


async def _end(landings: Iterable[Landing]) -> None:
    """Stop their fetching, and return once it has: nothing lands any more."""
    tasks = [landing.task for landing in landings if landing.task]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _belongs(study_uid: str, series_uid: str, wanted: set[str]) -> Callable[[Summary], None]:
    """A peer may send only what the manifest names (P16)."""

    def check(summary: Summary) -> None:
        told = (summary.ref.study_uid, summary.ref.series_uid)
        if told != (study_uid, series_uid) or summary.ref.sop_uid not in wanted:
            raise Conflict("instance", "the peer sent an instance the manifest does not name")

    return check


def _study(listed: Listed) -> str:
    """The Study Instance UID of an entry: ITI TF-3 table 4.2.3.1.7-2, CXi of the reference id list."""
    for reference in listed.reference_ids:
        if reference.endswith(f"^{codes.REFERENCE_STUDY}"):
            return reference.partition("^")[0]
    return ""


def _is_report(listed: Listed) -> bool:
    """A CDA; what signs a submission is XML too."""
    coded = listed.format_code.value if listed.format_code else ""
    return listed.mime_type in ("text/xml", "application/xml") and coded != codes.FORMAT_SIGNATURE.value


def _shown(listed: Listed) -> dict[str, Any]:
    return {
        "title": listed.title,
        "created": listed.service_start or listed.created,
        "study_uid": _study(listed),
        "modalities": list(listed.modalities),
        "regions": [region.meaning or region.value for region in listed.regions],
        "description": ", ".join(act.meaning or act.value for act in listed.acts),
        "author": listed.institution,
    }
