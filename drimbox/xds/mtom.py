"""SOAP with its documents beside it: MTOM and XOP over multipart/related (W3C MTOM, XOP; RFC 2387, RFC 2392).

Documents travel as raw bytes, never in base64 of ours; answers may use any transfer encoding but quoted-printable.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from drimbox.dicom.parts import Limits, PartBegin, PartData, PartEnd, PartReader, checked_boundary, read_content_type
from drimbox.errors import Malformed

MAX_PARTS = 16
_ROOT_ID = "envelope@drimbox"


@dataclass(frozen=True, slots=True)
class Message:
    """A SOAP message as it came: the bytes of its envelope, and its parts by Content-ID."""

    envelope: bytes = field(repr=False)
    parts: Mapping[str, bytes] = field(repr=False)


def build_mtom(envelope: bytes, parts: Mapping[str, bytes], *, action: str, boundary: str) -> tuple[str, bytes]:
    """Pack an envelope and its parts; return the Content-Type and the body.

    parts: raw bytes by Content-ID, in order. boundary: 1 to 70 characters, in none of the contents; a random one
    is not there by chance, and Malformed is raised if it is.
    """
    delimiter = b"--" + boundary.encode("ascii")
    if any(delimiter in content for content in (envelope, *parts.values())):
        raise Malformed("MTOM boundary", "it occurs in a part")
    root_type = f'application/xop+xml; charset=UTF-8; type="application/soap+xml"; action="{action}"'
    pieces = [_opened(delimiter, root_type, _ROOT_ID), envelope]
    for content_id, content in parts.items():
        pieces += [b"\r\n", _opened(delimiter, "application/octet-stream", content_id), content]
    pieces += [b"\r\n", delimiter, b"--\r\n"]
    content_type = (
        f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; start="<{_ROOT_ID}>"; '
        f'start-info="application/soap+xml"; action="{action}"'
    )
    return content_type, b"".join(pieces)


def _opened(delimiter: bytes, media_type: str, content_id: str) -> bytes:
    headers = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{content_id}>\r\n\r\n"
    return delimiter + b"\r\n" + headers.encode("ascii")


def read_message(content_type: str, content: bytes) -> Message:
    """Unpack a SOAP message, MTOM or plain.

    Raises Malformed when the media type is neither, a part is cut short, named twice or not named, or the root is
    not there; TooLarge over 16 parts. The caller bounds `content`.
    """
    media_type, parameters = read_content_type(content_type)
    if media_type == "application/soap+xml":
        return Message(content, {})
    if media_type != "multipart/related":
        raise Malformed("SOAP message", "neither application/soap+xml nor multipart/related")
    parts = _split(content, checked_boundary(parameters))
    start = parameters.get("start", "").strip("<> ") or next(iter(parts))
    if start not in parts:
        raise Malformed("SOAP message", "the start part is missing")
    return Message(parts.pop(start), parts)


def resolved(message: Message, href: str) -> bytes:
    """The part that an xop:Include names by its `cid:` URL (RFC 2392). Raises Malformed when there is none."""
    scheme, _, content_id = href.partition(":")
    part = message.parts.get(unquote(content_id)) if scheme.lower() == "cid" else None
    if part is None:
        raise Malformed("SOAP message", "an xop:Include names no part of it")
    return part


def _split(content: bytes, boundary: bytes) -> dict[str, bytes]:
    """The parts by Content-ID, decoded, in order."""
    parts: dict[str, bytes] = {}
    reader = PartReader(boundary, Limits(parts=MAX_PARTS, part_bytes=len(content)))
    content_id, encoding = "", ""
    pieces: list[memoryview] = []
    for event in reader.feed(content):
        match event:
            case PartBegin(headers):
                content_id = headers.get("content-id", "").strip("<> ")
                if not content_id and not parts:
                    content_id = _ROOT_ID  # the root may go unnamed without a start parameter (RFC 2387 §3.2)
                if not content_id or content_id in parts:
                    raise Malformed("SOAP message", "a part has no Content-ID, or that of another")
                encoding = headers.get("content-transfer-encoding", "binary").lower()
                pieces = []
            case PartData(view):
                pieces.append(view)
            case PartEnd():
                parts[content_id] = _decoded(b"".join(pieces), encoding)
    reader.close()
    if not parts:
        raise Malformed("SOAP message", "no part")
    return parts


def _decoded(data: bytes, encoding: str) -> bytes:
    if encoding in ("binary", "8bit", "7bit"):
        return data
    if encoding != "base64":
        raise Malformed("SOAP message", "a transfer encoding we do not read")
    return read_base64(data)


def read_base64(data: bytes) -> bytes:
    """Decode base64 that may be folded on several lines. Raises Malformed."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("SOAP message", "broken base64") from error
