"""An instance sent in pieces, metadata in the JSON model and bulk data beside it (PS3.18 §10.5.1), as one data set.

The metadata are a stranger's: whatever is not of the model is refused before anything is written.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from drimbox.dicom.attributes import integer, text
from drimbox.dicom.part10 import LONG_FORM, SHORT_FORM, Preface
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES, checked_uid
from drimbox.dicom.writing import LONGEST_SHORT, build_data_set
from drimbox.errors import Malformed, NotAcceptable

MOST_LEVELS: Final = 64

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_NO_DATA: Final = ("0000", "FFFE")  # groups of commands, of items and their ends
_VRS: Final = frozenset(vr.decode() for vr in LONG_FORM | SHORT_FORM)
_SHORT: Final = frozenset(vr.decode() for vr in SHORT_FORM)
_PIXEL_DATA, _TRANSFER_SYNTAX, _AVAILABLE = "7FE00010", "00020010", "00083002"
_UTF_8: Final = {"vr": "CS", "Value": ["ISO_IR 192"]}
_UNCOMPRESSED: Final = TRANSFER_SYNTAXES[EXPLICIT_LITTLE_ENDIAN]


@dataclass(frozen=True, slots=True)
class Bulk:
    """A value that came in a part of its own. transfer_syntax: as its Content-Type says, else empty."""

    content: bytes
    media_type: str
    transfer_syntax: str


def compose(metadata: Any, bulk: Mapping[str, Bulk]) -> tuple[Preface, bytes]:
    """The names of the instance, and its data set. bulk: by the BulkDataURI that names it.

    Text is UTF-8, as it came; so Specific Character Set says. Compressed pixels are one frame: in a part of its own a
    second one would have no place. Raises Malformed, NotAcceptable.
    """
    try:
        attributes = _checked(metadata, bulk, 0)
        pixels = _pixels(metadata)
        transfer_syntax = _transfer_syntax(metadata, pixels and bulk.get(pixels))
        if pixels and TRANSFER_SYNTAXES[transfer_syntax].encapsulated:
            if (integer(attributes, "00280008") or 1) > 1:
                raise NotAcceptable("metadata", "several compressed frames: send the instance as application/dicom")
            attributes[_PIXEL_DATA] = {"vr": "OB", "Fragments": [bulk[pixels].content]}
        attributes["00080005"] = _UTF_8
        names = Preface(
            checked_uid(text(attributes, "00080016")), checked_uid(text(attributes, "00080018")), transfer_syntax, 0
        )
        return names, build_data_set(attributes, _UNCOMPRESSED)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise Malformed("metadata", "not of the DICOM JSON model (PS3.18 annex F)") from error


def _checked(given: Any, bulk: Mapping[str, Bulk], level: int) -> dict[str, Any]:
    """The attributes of a data set, with bulk data in place."""
    if not isinstance(given, Mapping) or level > MOST_LEVELS:
        raise Malformed("metadata", f"a data set is an object, {MOST_LEVELS} levels deep at most")
    checked: dict[str, Any] = {}
    for tag, attribute in given.items():
        if not isinstance(attribute, Mapping) or not _TAG.fullmatch(tag) or attribute.get("vr") not in _VRS:
            raise Malformed("metadata", "an attribute is 8 hexadecimal digits, with its vr")
        if tag.upper().startswith(_NO_DATA):
            raise Malformed("metadata", "a command element or a delimiter is no attribute of a data set")
        if tag.startswith("0002") or tag[4:] == "0000":
            continue  # of the preface, which is ours; a group length
        vr = attribute["vr"]
        value = _value(vr, attribute, bulk, level)
        if vr in _SHORT and len(build_data_set({tag: value}, _UNCOMPRESSED)) > LONGEST_SHORT:
            raise Malformed("metadata", f"{tag.upper()} is longer than its vr allows")
        checked[tag.upper()] = value
    return checked


def _value(vr: str, attribute: Mapping[str, Any], bulk: Mapping[str, Bulk], level: int) -> dict[str, Any]:
    uri = attribute.get("BulkDataURI")
    if uri is not None:
        if uri not in bulk:
            raise Malformed("metadata", "no part has the Content-Location that a BulkDataURI names")
        return {"vr": vr, "Raw": bulk[uri].content}
    if "InlineBinary" in attribute:
        return {"vr": vr, "InlineBinary": attribute["InlineBinary"]}
    values = attribute.get("Value", [])
    if not isinstance(values, list):
        raise Malformed("metadata", "a Value is an array")
    if vr == "SQ":
        return {"vr": vr, "Value": [_checked(item or {}, bulk, level + 1) for item in values]}
    if any(isinstance(value, list | bool) or (isinstance(value, Mapping) and vr != "PN") for value in values):
        raise Malformed("metadata", "a value is neither text nor number")
    return {"vr": vr, "Value": values}


def _pixels(metadata: Mapping[str, Any]) -> str:
    """The BulkDataURI of Pixel Data, empty when they are not in a part."""
    return str(metadata.get(_PIXEL_DATA, {}).get("BulkDataURI") or "")


_SYNTAX_OF: Final = {  # where a media type means one (PS3.18 table 8.7.3-2)
    "image/jpeg": "1.2.840.10008.1.2.4.50",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
}


def _transfer_syntax(metadata: Mapping[str, Any], pixels: Bulk | str | None) -> str:
    """What the part says, else the metadata, else what the media type means."""
    if not isinstance(pixels, Bulk):
        return EXPLICIT_LITTLE_ENDIAN
    told = pixels.transfer_syntax or text(metadata, _TRANSFER_SYNTAX) or text(metadata, _AVAILABLE)
    if pixels.media_type == "application/octet-stream" and not pixels.transfer_syntax:
        told = EXPLICIT_LITTLE_ENDIAN
    found = told or _SYNTAX_OF.get(pixels.media_type, "")
    syntax = TRANSFER_SYNTAXES.get(found)
    if syntax is None or not (syntax.encapsulated or found == EXPLICIT_LITTLE_ENDIAN):
        raise NotAcceptable("bulk data", "pixels in Explicit VR Little Endian, or in a compressed syntax that is named")
    return found
