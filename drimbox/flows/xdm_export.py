"""The archive of submissions leaves, for another box or for a disaster: XDM media, a ZIP a month (drim-m.md B.10)."""

import asyncio
import contextlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from drimbox.durable import make_folder, new_file
from drimbox.flows.admit import Admit
from drimbox.model import Credentials, Report, Submission
from drimbox.storage.earlier import Earlier, EarlierSubmissions
from drimbox.storage.reports import write_fields
from drimbox.xds.xdm import build_metadata, read_metadata

MOST_SETS: Final = 5_000
"""Of one medium: its directory is in memory while it is written and while it is read."""

REPORT_NAME: Final = "CR.XML"
FIELDS_NAME: Final = "CR.JSN"
IDENTIFIERS_NAME: Final = "CR.TXT"

_INDEX: Final = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML Basic 1.1//EN" "http://www.w3.org/TR/xhtml-basic/xhtml-basic11.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>DRIMbox</title></head><body>
<h1>Archive DRIMbox</h1>
<p>Manifestes d'imagerie (KOS) publi&#233;s dans le DMP, selon le profil IHE XDM.</p>
<p><a href="README.TXT">README.TXT</a></p>
</body></html>
"""
_README: Final = """Archive d'une DRIMbox (profil IHE ITI XDM)\r
==========================================\r
\r
Emetteur    : DRIMbox\r
Contenu     : un dossier par lot de soumission, sous IHE_XDM\r
  METADATA.XML  metadonnees XDS du lot ; URI relatives a ce dossier\r
  KOS_1_1.DCM   manifeste de l'examen (DICOM Key Object Selection)\r
  SIGN_1.XML    signature du lot\r
  CR.TXT        identifiants : CDA (racine;extension), INS (matricule;OID), IPP (racine;extension)\r
  CR.XML        compte rendu (CDA R2), lorsqu'il est detenu\r
  CR.JSN        le compte rendu tel que lu par la DRIMbox, pour une reprise a l'identique\r
\r
Ces fichiers contiennent des donnees de sante : a conserver et a transmettre chiffres.\r
Reprise     : drimbox xdm import FICHIER.ZIP\r
"""


@dataclass
class _Medium:
    """A ZIP that is being written. Everything of a set is in memory while it is, nothing of the others is."""

    archive: zipfile.ZipFile
    month: str
    sets: int = 0

    def add(self, earlier: Earlier) -> None:
        """Write a set after the others."""
        self.sets += 1
        folder = f"IHE_XDM/SS{self.sets:06}"
        for name, content in _files(earlier):
            self.archive.writestr(f"{folder}/{name}", content)


@dataclass(frozen=True)
class XdmExport:
    """What the DMP holds of us, and what it held until it was withdrawn, study by study."""

    submissions: EarlierSubmissions
    admit: Admit

    async def __call__(
        self, credentials: Credentials, folder: Path, told: Callable[[bool], None], study_uid: str = ""
    ) -> list[Path]:
        """Write the media into `folder`, `KA<year><month>.zip` each, and return them; of one study with `study_uid`.

        told: of each study, was it written? A manifest that was taken over alone has no metadata to go with it. Each
        study is traced before its first byte is written. A medium has its name once it is whole and durable.
        Raises Denied, NoSpace, Unavailable, OSError; media that were finished stay.
        """
        reader = await self.admit(credentials, "operate", study_uid, "submissions exported as XDM")
        await asyncio.to_thread(make_folder, folder)
        media: list[Path] = []
        with contextlib.ExitStack() as held:
            medium: _Medium | None = None
            async for earlier in self.submissions.each(study_uid):
                if not earlier.submission.metadata:
                    told(False)
                    continue
                month = datetime.fromtimestamp(earlier.told_at).astimezone().strftime("%Y%m")
                if medium is None or medium.month != month or medium.sets >= MOST_SETS:
                    await asyncio.to_thread(held.close)
                    media.append(_free_name(folder, month, media))
                    medium = await asyncio.to_thread(_begin, held, media[-1], month)
                await self.admit.outcome(reader, "retrieve", False, earlier.submission.study_uid, "exported as XDM")
                await asyncio.to_thread(medium.add, earlier)
                told(True)
            await asyncio.to_thread(held.close)
        return media


def _begin(held: contextlib.ExitStack, path: Path, month: str) -> _Medium:
    file = held.enter_context(new_file(path))
    archive = held.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED))
    archive.writestr("INDEX.HTM", _INDEX)
    archive.writestr("README.TXT", _README)
    return _Medium(archive, month)


def _free_name(folder: Path, month: str, media: list[Path]) -> Path:
    """A name no medium of this export or of another has."""
    path, number = folder / f"KA{month}.zip", 1
    while path in media or path.exists():
        number += 1
        path = folder / f"KA{month}-{number}.zip"
    return path


def _files(earlier: Earlier) -> list[tuple[str, bytes]]:
    submission, report = earlier.submission, earlier.report
    fields = {"cancelled": earlier.cancelled, "report": orjson.Fragment(write_fields(report))}
    files = [
        ("METADATA.XML", _metadata(submission, withdrawn=earlier.withdrawn)),
        ("KOS_1_1.DCM", submission.manifest),
        ("SIGN_1.XML", submission.signature),
        (IDENTIFIERS_NAME, _identifiers(report)),
        (FIELDS_NAME, orjson.dumps(fields)),
        (REPORT_NAME, report.cda),
    ]
    return [(name, content) for name, content in files if content]


def _metadata(submission: Submission, *, withdrawn: bool) -> bytes:
    places = {submission.unique_id: "KOS_1_1.DCM"}
    if submission.signature:
        signatures = (one for one in read_metadata(submission.metadata).documents if one.is_signature)
        places |= {one.listed.unique_id: "SIGN_1.XML" for one in signatures}
    return build_metadata(submission.metadata, places, entry_uuid=submission.entry_uuid, withdrawn=withdrawn)


def _identifiers(report: Report) -> bytes:
    """CR.TXT, as the public prototype writes it."""
    patient = report.patient
    ins = (patient.ins.value, patient.ins.authority) if patient.ins else ("", "")
    local = (patient.local_id.authority, patient.local_id.value) if patient.local_id else ("", "")
    return ";".join((report.document_id.authority, report.document_id.value, *ins, *local)).encode()
