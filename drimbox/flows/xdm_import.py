"""Submissions another box made, and manifests that came as files, become ours to change and to withdraw."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from drimbox.errors import Conflict, DrimboxError, Malformed, NotFound, TooLarge
from drimbox.flows.admit import Admit
from drimbox.flows.xdm_export import FIELDS_NAME, IDENTIFIERS_NAME, REPORT_NAME
from drimbox.flows.xdm_report import report_of
from drimbox.kos.manifest import Manifest
from drimbox.kos.read import read_manifest
from drimbox.model import Credentials, Identifier, Report, Submission
from drimbox.storage.earlier import Earlier, EarlierSubmissions, Outcome
from drimbox.storage.reports import read_fields
from drimbox.xds.codes import DELETED
from drimbox.xds.entry import read_cx, utc_time
from drimbox.xds.xdm import MAX_METADATA, XdmDocument, XdmSet, read_metadata
from drimbox.xds.xdm_zip import FolderMedium, Medium, ZipMedium, find_sets, locate

MAX_MANIFEST: Final = 32 * 2**20
_MAX_REPORT: Final = 64 * 2**20
_MAX_SMALL: Final = 2**20

Told = Callable[[str, Outcome | DrimboxError], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest on a medium, checked against what is said of it; it has an INS. name: of its set's METADATA.XML."""

    name: str
    kos: bytes
    manifest: Manifest
    described: XdmSet
    document: XdmDocument


@dataclass(frozen=True)
class XdmImport:
    """Take over an archive of submissions. A set that is refused does not hold up the others."""

    submissions: EarlierSubmissions
    admit: Admit

    async def __call__(self, credentials: Credentials, path: Path, told: Told) -> None:
        """Bring in an XDM medium (a ZIP, or the folder of one), or a manifest alone; tell of each what became of it.

        Raises Denied, and Malformed, TooLarge, NotFound when the medium as a whole is none, NoSpace, Unavailable.
        """
        await self.admit(credentials, "operate", detail="submissions imported")
        if await asyncio.to_thread(path.is_dir):
            await self._medium(credentials, await asyncio.to_thread(FolderMedium, path), told)
            return
        with await asyncio.to_thread(path.open, "rb") as file:
            if await asyncio.to_thread(_is_zip, file):
                await self._medium(credentials, await asyncio.to_thread(ZipMedium, file), told)
                return
            kos = await asyncio.to_thread(file.read, MAX_MANIFEST + 1)
        try:
            earlier = await asyncio.to_thread(_alone, kos)
            told(path.name, await self._keep(credentials, earlier))
        except (Conflict, Malformed, TooLarge) as error:
            told(path.name, error)

    async def _medium(self, credentials: Credentials, medium: Medium, told: Told) -> None:
        for name in find_sets(medium):
            try:
                for found in await asyncio.to_thread(lambda one: list(read_set(medium, one)), name):
                    earlier = await asyncio.to_thread(_earlier, medium, found)
                    told(name, await self._keep(credentials, earlier))
            except (Conflict, Malformed, TooLarge, NotFound) as error:
                told(name, error)

    async def _keep(self, credentials: Credentials, earlier: Earlier) -> Outcome:
        await self.admit(credentials, "operate", earlier.submission.study_uid, "submission imported")
        return await self.submissions.keep(earlier)


def _is_zip(file: BinaryIO) -> bool:
    begins = file.read(4)
    file.seek(0)
    return begins in (b"PK\x03\x04", b"PK\x05\x06")


# --- What is on a medium ----------------------------------------------------------------------------------------------


def read_set(medium: Medium, name: str) -> Iterator[Found]:
    """The manifests of a submission set, each checked: size, hash, identity, patient.

    name: of its METADATA.XML. Raises Malformed, TooLarge, NotFound, Conflict.
    """
    described = read_metadata(medium.read(name, MAX_METADATA))
    manifests = [document for document in described.documents if document.is_manifest]
    if not manifests:
        raise Malformed("submission set", "it has no manifest (KOS)")
    for document in manifests:
        kos = medium.read(locate(medium, name, document.uri), MAX_MANIFEST)
        check_document(kos, document)
        manifest = read_manifest(kos)
        if manifest.uid != document.listed.unique_id:
            raise Conflict("manifest", "its SOP Instance UID is not the uniqueId that METADATA.XML tells")
        ins = manifest.patient.ins
        if ins is None or ins.value != read_cx(document.listed.patient_id).value:
            raise Conflict("patient", "the manifest and METADATA.XML are not of the same one")
        yield Found(name, kos, manifest, described, document)


def check_document(content: bytes, document: XdmDocument) -> None:
    """Raises Malformed unless the document is the one METADATA.XML describes: XDM demands size and hash."""
    if document.listed.size_bytes != len(content):
        raise Malformed("document", "its size is not the one METADATA.XML tells, or none is told")
    if document.listed.hash != hashlib.sha1(content, usedforsecurity=False).hexdigest():
        raise Malformed("document", "its hash is not the one METADATA.XML tells, or none is told")


# --- From what is found to what is kept -------------------------------------------------------------------------------


def _alone(kos: bytes) -> Earlier:
    """A manifest that came without metadata: what the DMP was told of it is not known."""
    manifest = read_manifest(kos)
    if manifest.patient.ins is None:
        raise Malformed("manifest", "it carries no INS")
    submission = Submission(manifest.study_uid, "publish", manifest.uid, "", "", "", kos, b"")
    return Earlier(submission, report_of(manifest, None), 0, False, submitted=utc_time(manifest.created))


def _earlier(medium: Medium, found: Found) -> Earlier:
    described, document = found.described, found.document
    folder = found.name.rpartition("/")[0]
    signature = b""
    for other in described.documents:
        if other.is_signature:
            signature = medium.read(locate(medium, found.name, other.uri), _MAX_SMALL)
            check_document(signature, other)
    withdrawn = document.listed.status == DELETED
    report, cancelled = _report(medium, folder, found, withdrawn)
    submission = Submission(
        study_uid=found.manifest.study_uid,
        kind="publish",
        unique_id=found.manifest.uid,
        set_uid=described.set_uid,
        entry_uuid=document.listed.entry_uuid,
        structure="",
        manifest=found.kos,
        metadata=described.metadata,
        signature=signature,
    )
    return Earlier(submission, report, 0, withdrawn, cancelled, described.submitted or utc_time(found.manifest.created))


def _report(medium: Medium, folder: str, found: Found, withdrawn: bool) -> tuple[Report, bool]:
    """The report as the box that exported it read it; else what the metadata, the manifest and CR.TXT tell of it."""
    cda = _optional(medium, f"{folder}/{REPORT_NAME}", _MAX_REPORT)
    if fields := _optional(medium, f"{folder}/{FIELDS_NAME}", _MAX_REPORT):
        try:
            told = orjson.loads(fields)
            report, cancelled = read_fields(orjson.dumps(told["report"]), cda=cda), bool(told["cancelled"])
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed(FIELDS_NAME, "not a report as a DRIMbox writes it") from error
        told_ins, ins = report.patient.ins, found.manifest.patient.ins
        if told_ins is None or ins is None or told_ins.value != ins.value:
            raise Conflict("patient", f"{FIELDS_NAME} and the manifest are not of the same one")
        if all(exam.study_uid != found.manifest.study_uid for exam in report.exams):
            raise Conflict("exam", f"{FIELDS_NAME} does not document the study of the manifest")
        return report, cancelled
    report = report_of(found.manifest, found.document, set_uid=found.described.set_uid)
    identifiers = _optional(medium, f"{folder}/{IDENTIFIERS_NAME}", _MAX_SMALL).decode("utf-8", "replace")
    return replace(_identified(report, identifiers), cda=cda), withdrawn


def _identified(report: Report, text: str) -> Report:
    """The report with the identifiers of CR.TXT: CDA root, extension; INS, OID; local root, extension."""
    parts = [re.sub(r"[^\x20-\x7e\xa0-\xff]", "", part).strip() for part in text.split(";")]
    if len(parts) != 6:
        return report
    root, extension, ins, _, local_root, local = parts
    if report.patient.ins is None or ins != report.patient.ins.value:
        raise Conflict("patient", f"{IDENTIFIERS_NAME} and the manifest are not of the same one")
    patient = replace(report.patient, local_id=Identifier(local, local_root)) if local else report.patient
    document_id = Identifier(extension, root) if root else report.document_id
    return replace(report, patient=patient, document_id=document_id)


def _optional(medium: Medium, name: str, most: int) -> bytes:
    found = medium.find(name)
    return medium.read(found, most) if found else b""
