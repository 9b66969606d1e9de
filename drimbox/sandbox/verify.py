"""Did every image come through unchanged? Judged from outside, with pydicom as the independent reader."""

import hashlib
import io
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from drimbox.dicom.part10 import InMemory
from drimbox.egress import Egress
from drimbox.pacs.store import Sent
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import read_description
from drimbox.sandbox.nodes import ask

_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True)
class Verdict:
    """Counts, and a line for each instance that is not as it was."""

    stored: int
    published: int
    retrieved: int
    wrong: list[str]


async def verify_visit(egress: Egress, base: str, visit: dict[str, Any], sent: list[Sent]) -> Verdict:
    """Fetch a visit's study from the consumer and compare each instance with the file it came from."""
    url = f"{base}{visit['dicomweb_url']}/studies/{visit['study_uid']}"
    answer = await ask(egress, url, _AS_STORED)
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = [
        part.get_payload(decode=True)
        for part in message_from_bytes(head + answer.content, policy=HTTP).walk()
        if not part.is_multipart()
    ]
    files = {item.sop_uid: item for item in sent}
    wrong, images = [], 0
    for number, part in enumerate(parts, start=1):
        came = pydicom.dcmread(io.BytesIO(bytes(part)))
        original = files.pop(came.SOPInstanceUID, None)
        if original is None or not _is_same(bytes(part), came, original):
            wrong.append(f"instance {number}")
        images += "PixelData" in came
    wrong += [f"missing: {item.path.name}" for item in files.values() if item.has_pixels]
    return Verdict(len(sent), 1, images, wrong)


def _is_same(part: bytes, came: pydicom.Dataset, original: Sent) -> bool:
    """The same data set bytes; or, when a peer transcoded without loss, the same stored pixel values."""
    if hashlib.sha256(_data_set(part)).hexdigest() == original.digest:
        return True
    kept = pydicom.dcmread(original.path)
    return "PixelData" in kept and _samples(part, came) == _samples(original.path.read_bytes(), kept)


def _samples(part10: bytes, item: pydicom.Dataset) -> bytes:
    """Stored pixel values, as bytes. pydicom lacks a decoder for some syntaxes that a peer may choose: then by ours."""
    try:
        return bytes(pixel_array(item, raw=True).tobytes())
    except RuntimeError:
        description = read_description(InMemory(part10))
        if description is None:
            return b""
        frames = generate_frames(item.PixelData, number_of_frames=description.number_of_frames)
        syntax = item.file_meta.TransferSyntaxUID
        return b"".join(decode_frame(frame, syntax, description) for frame in frames)


def _data_set(part10: bytes) -> bytes:
    """What follows the file meta information (PS3.10 §7.1): its group length says where."""
    return part10[144 + int.from_bytes(part10[140:144], "little") :]
