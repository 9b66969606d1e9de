"""The Native DICOM Model, DICOM as XML (PS3.19 §A.1), from the DICOM JSON model (PS3.18 annex F). Pure.

Characters that XML cannot hold become U+FFFD. Private elements name their creator and not the block it reserved, as
the model wants; without a creator in the data set they keep their whole tag.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from drimbox.dicom.keywords import keyword_of

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_OPENING: Final = f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
_CLOSING: Final = "</NativeDicomModel>"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEPT: Final = {"\r": "&#13;"}  # a parser would make a line feed of it


def build_xml(attributes: Mapping[str, Any]) -> bytes:
    """One data set, told in the JSON model, as a NativeDicomModel document in UTF-8."""
    return "".join((_OPENING, *_data_set(attributes), _CLOSING)).encode()


def _data_set(attributes: Mapping[str, Any]) -> Iterator[str]:
    for tag in sorted(attributes):
        if is_private_creator(tag):
            continue  # it is told by each element of its block
        yield from _attribute(tag, attributes[tag], _creator(tag, attributes))


def _attribute(tag: str, element: Mapping[str, Any], creator: str) -> Iterator[str]:
    if creator:
        yield f'<DicomAttribute tag="{tag[:4]}00{tag[6:]}" vr="{element["vr"]}" privateCreator={_quoted(creator)}>'
    else:
        keyword = keyword_of(tag)
        named = f' keyword="{keyword}"' if keyword else ""
        yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{named}>'
    if "BulkDataURI" in element:
        yield f"<BulkData uri={_quoted(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    else:
        for number, value in enumerate(element.get("Value", ()), start=1):
            yield from _value(element["vr"], number, value)
    yield "</DicomAttribute>"


def _value(vr: str, number: int, value: Any) -> Iterator[str]:
    if vr == "SQ":
        yield f'<Item number="{number}">'
        yield from _data_set(value or {})
        yield "</Item>"
    elif vr == "PN":
        yield f'<PersonName number="{number}">{_name(value or {})}</PersonName>'
    else:
        yield f'<Value number="{number}">{"" if value is None else _text(str(value))}</Value>'


def _name(groups: Mapping[str, str]) -> str:
    written = []
    for group in _GROUPS:
        if text := groups.get(group):
            parts = zip(_COMPONENTS, text.split("^"), strict=False)
            written.append(
                f"<{group}>"
                + "".join(f"<{name}>{_text(part)}</{name}>" for name, part in parts if part)
                + f"</{group}>"
            )
    return "".join(written)


def is_private_creator(tag: str) -> bool:
    """Does this tag, 8 hexadecimal digits, reserve a block of private elements (PS3.5 §7.8.1)?"""
    return tag[3] in "13579BDF" and tag[4:6] == "00" and tag[6:] >= "10"


def _creator(tag: str, attributes: Mapping[str, Any]) -> str:
    """Who made this private element; empty for a standard one, or where nobody says."""
    if tag[3] not in "13579BDF" or tag[4:6] < "10":
        return ""
    values = attributes.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value") or [None]
    return str(values[0] or "")


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), _KEPT)


def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text), _KEPT)
