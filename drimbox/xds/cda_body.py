"""The body of a CDA R2 report: what a person reads (HL7 CDA R2 §4.3; level 1: IHE ITI XDS-SD; level 3: PS3.20).

The header is read in `hl7/cda.py`. Everything here comes from outside and is shown in a browser: what leaves is a PDF
or a picture that begins as one, or a page of our own making (`cda_page.py`).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lxml import etree

from drimbox.errors import Conflict, Malformed, NotAcceptable, NotFound
from drimbox.xds.cda_page import build_page, build_text_page, text_of
from drimbox.xds.cda_xml import CDA, parse_cda

_TOKEN: Final = b"@drimbox-run-%d@"
_TOKENS: Final = re.compile(r"@drimbox-run-(\d+)@", re.ASCII)
_INS: Final = "1.2.250.1.213.1.4."  # NIR and NIA, true and of tests
_BLANK: Final = re.compile(r"\s+|&#x?[0-9a-fA-F]+;")
_BEGINS: Final = {
    "application/pdf": (b"%PDF-",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}


@dataclass(frozen=True, slots=True)
class ReportBody:
    """What a browser may show: a PDF, a picture, or an HTML page without script, link or anything from outside."""

    media_type: str
    content: bytes


def read_body(cda: bytes, heading: Sequence[str] = (), ins: str = "") -> ReportBody:
    """Read what a person is meant to read of a CDA.

    heading: lines to write above a text: whose report it is, and of whom. A document within (level 1) has its own. ins:
    the matricule of the patient in context, where there is one. Raises Malformed, TooLarge, Conflict when the CDA is of
    another patient (P16), NotFound when there is no body, NotAcceptable when it is in a form nobody can show here.
    """
    runs: list[bytes] = []
    root = _parse(cda, runs)
    if ins and ins not in _matricules(root):
        raise Conflict("report", "it is of another patient than the one in context: it is not shown")
    whole = root.find(f"{CDA}component/{CDA}nonXMLBody/{CDA}text")
    if whole is not None:
        media_type = (whole.get("mediaType") or "text/plain").lower()
        if media_type == "text/plain" and whole.get("representation") != "B64":
            return _page(build_text_page(text_of(whole), heading))
        content = _decoded(whole, runs)
        if media_type == "text/plain":
            return _page(build_text_page(content.decode("utf-8", "replace"), heading))
        return ReportBody(media_type, _checked(media_type, content))
    structured = root.find(f"{CDA}component/{CDA}structuredBody")
    if structured is None:
        raise NotFound("report", "its CDA has no body")
    return _page(build_page(structured, heading, lambda media: _picture(media, runs)))


def _matricules(root: etree._Element) -> set[str]:
    """The INS of the patients a CDA is about."""
    ids = root.iterfind(f"{CDA}recordTarget/{CDA}patientRole/{CDA}id")
    return {node.get("extension", "") for node in ids if node.get("root", "").startswith(_INS)}


def _page(content: bytes) -> ReportBody:
    return ReportBody("text/html; charset=utf-8", content)


def _picture(media: etree._Element, runs: Sequence[bytes]) -> tuple[str, bytes] | None:
    """Type and bytes of an observationMedia; None when it is no picture a browser can be given."""
    value = media.find(f"{CDA}value")
    if value is None:
        return None
    media_type = value.get("mediaType", "").lower()
    try:
        return (media_type, _checked(media_type, _decoded(value, runs))) if media_type.startswith("image/") else None
    except (Malformed, NotAcceptable):
        return None


def _checked(media_type: str, content: bytes) -> bytes:
    """The content, if it begins as what it is called: a browser must not find out by itself what it is."""
    if media_type not in _BEGINS:
        raise NotAcceptable("report", "it is neither text, nor PDF, nor a picture a browser shows")
    if not content.startswith(_BEGINS[media_type]):
        raise Malformed("report", "its body is not what its mediaType says")
    return content


def _decoded(value: etree._Element, runs: Sequence[bytes]) -> bytes:
    """The bytes of an ED in base64 (HL7 v3 data types, ED.representation)."""
    if value.get("compression"):
        raise NotAcceptable("report", "its body is compressed inside the CDA")
    text = _TOKENS.sub(lambda token: runs[int(token[1])].decode("ascii"), text_of(value))
    text = _BLANK.sub("", text).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("report", "the base64 of its body is damaged") from error


def _parse(data: bytes, runs: list[bytes]) -> etree._Element:
    """The tree, with each long run of base64 in `runs` and a token in its place."""
    if b"@drimbox-run-" in data:
        raise Malformed("CDA", "it holds a word that is kept for this program")

    def taken(run: re.Match[bytes]) -> bytes:
        runs.append(run[0])
        return _TOKEN % (len(runs) - 1)

    return parse_cda(data, taken)
