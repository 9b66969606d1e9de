"""A study sent whole, or an error: for whoever then has to know what exactly was sent."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom

from drimbox.errors import DrimboxError, Malformed, Unavailable
from drimbox.pacs.send import Outgoing, identified
from drimbox.pacs.send import send_files as send_each
from drimbox.settings import Destination

_WANTED: Final = ["StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber", "Modality", "Rows"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance that was sent and accepted. digest: SHA-256 of the bytes of its data set, hexadecimal."""

    path: Path
    transfer_syntax: str
    study_uid: str
    sop_uid: str
    patient_id: str
    accession_number: str
    modality: str
    digest: str
    has_pixels: bool


def send_files(paths: Iterable[Path], host: str, port: int, calling: str, called: str) -> list[Sent]:
    """Send the DICOM files among `paths`, and in the folders among them, each in its own transfer syntax.

    Files that are no DICOM and DICOMDIR are left out. Raises Malformed when there is nothing to send, NotAcceptable
    when a presentation context is refused, Unavailable for anything else that keeps one instance from status 0000.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    items = [item for file in files if file.is_file() and (item := _read(file)) is not None]
    if not items:
        raise Malformed("study", "there is no DICOM file to send")

    def told(path: Path, outcome: int | DrimboxError) -> None:
        if isinstance(outcome, DrimboxError):
            raise outcome
        if outcome != 0x0000:
            raise Unavailable("C-STORE", f"status {outcome:04X}")

    place = Destination(ae_title=called, host=host, port=port)
    asyncio.run(send_each((item.path for item in items), place, calling, told))
    return items


def _read(path: Path) -> Sent | None:
    try:
        outgoing: Outgoing = identified(path)
    except DrimboxError:
        return None
    dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_WANTED), force=True)
    return Sent(
        path=path,
        transfer_syntax=outgoing.transfer_syntax,
        study_uid=_text(dataset, "StudyInstanceUID"),
        sop_uid=outgoing.sop_uid,
        patient_id=_text(dataset, "PatientID"),
        accession_number=_text(dataset, "AccessionNumber"),
        modality=_text(dataset, "Modality"),
        digest=hashlib.sha256(path.read_bytes()[outgoing.data_set_offset :]).hexdigest(),
        has_pixels="Rows" in dataset,
    )


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
