"""C-STORE as an SCU: files and folders are sent to a PACS, or to any archive, byte for byte as they are on the disk."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.errors import DrimboxError, Malformed, NotAcceptable, Unavailable

# Send what is in the file, not what pydicom makes of it: decoding and encoding again would change lengths and paddings.
_config.STORE_SEND_CHUNKED_DATASET = True

_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
MOST_CONTEXTS: Final = 128  # PS3.8 §9.3.2.2: presentation context ids are the odd numbers of a byte
_WANTED: Final = ["StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber", "Modality", "Rows"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance that was sent and accepted. digest: SHA-256 of the bytes of its data set, hexadecimal."""

    path: Path
    sop_class_uid: str
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
    for batch in _by_contexts(items):
        _send(batch, host, port, calling, called)
    return items


def associate(kinds: Iterable[tuple[str, str]], host: str, port: int, calling: str, called: str) -> Association:
    """An association, established or not, with a context for each SOP class and transfer syntax of `kinds`."""
    entity = AE(ae_title=calling)
    entity.connection_timeout, entity.acse_timeout = 10, 30
    entity.dimse_timeout = entity.network_timeout = 120
    return entity.associate(host, port, [build_context(*kind) for kind in kinds], ae_title=called)


def _read(path: Path) -> Sent | None:
    data = path.read_bytes()
    try:
        preface = read_preface(InMemory(data))
    except DrimboxError:
        return None
    if preface.sop_class_uid in ("", _MEDIA_STORAGE_DIRECTORY):
        return None
    dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_WANTED), force=True)
    return Sent(
        path=path,
        sop_class_uid=preface.sop_class_uid,
        transfer_syntax=preface.transfer_syntax,
        study_uid=_text(dataset, "StudyInstanceUID"),
        sop_uid=preface.sop_uid,
        patient_id=_text(dataset, "PatientID"),
        accession_number=_text(dataset, "AccessionNumber"),
        modality=_text(dataset, "Modality"),
        digest=hashlib.sha256(memoryview(data)[preface.data_set_offset :]).hexdigest(),
        has_pixels="Rows" in dataset,
    )


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _by_contexts(items: list[Sent]) -> Iterator[list[Sent]]:
    """Cut so that no association needs more contexts than there are ids."""
    kinds = list(dict.fromkeys((item.sop_class_uid, item.transfer_syntax) for item in items))
    for first in range(0, len(kinds), MOST_CONTEXTS):
        batch = set(kinds[first : first + MOST_CONTEXTS])
        yield [item for item in items if (item.sop_class_uid, item.transfer_syntax) in batch]


def _send(items: list[Sent], host: str, port: int, calling: str, called: str) -> None:
    kinds = dict.fromkeys((item.sop_class_uid, item.transfer_syntax) for item in items)
    association = associate(kinds, host, port, calling, called)
    if not association.is_established:
        raise Unavailable("C-STORE", "no association: address, AE titles or load of the other end")
    try:
        for number, item in enumerate(items, start=1):
            try:
                status = association.send_c_store(item.path)
            except ValueError as error:
                raise NotAcceptable("C-STORE", "the other end refuses the class or the syntax of a file") from error
            except (RuntimeError, AttributeError) as error:
                raise Unavailable("C-STORE", f"instance {number} of {len(items)} could not be sent") from error
            if "Status" not in status or status.Status != 0x0000:
                answer = f"{status.Status:04X}" if "Status" in status else "none"
                raise Unavailable("C-STORE", f"instance {number} of {len(items)}: status {answer}")
    finally:
        association.release()
