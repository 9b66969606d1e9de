"""Metadata of STOW-RS, JSON or XML, as data sets ready to be kept. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from drimbox.dicom.attributes import text
from drimbox.dicom.composing import MOST_LEVELS, Bulk, compose
from drimbox.dicom.part10 import Preface
from drimbox.dicom.xml_model import NAMESPACE
from drimbox.dicomweb.media_types import DICOM_XML
from drimbox.errors import DrimboxError, Malformed
from drimbox.xds.xml import read_xml

_MOST_XML_BYTES: Final = 2**25
_INTEGERS: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_DECIMALS: Final = frozenset({"FD", "FL"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def read_metadata(
    kind: str, parts: Sequence[bytes], bulk: Mapping[str, Bulk]
) -> Iterator[tuple[Preface, bytes | DrimboxError]]:
    """Each instance: its names, and its data set or why it cannot be one. Raises Malformed when nothing can be read."""
    for instance in _read_xml(parts) if kind == DICOM_XML else _read_json(parts):
        try:
            yield compose(instance, bulk)
        except DrimboxError as error:
            told = instance if isinstance(instance, dict) else {}
            yield Preface(_uid(told, "00080016"), _uid(told, "00080018"), "", 0), error


def _uid(attributes: Mapping[str, Any], tag: str) -> str:
    """A UID that can be repeated in the answer, else empty."""
    try:
        uid = text(attributes, tag)
    except (AttributeError, TypeError, LookupError):
        return ""
    return uid if len(uid) <= 64 and set(uid) <= set("0123456789.") else ""


def _read_json(parts: Sequence[bytes]) -> Iterator[Any]:
    for part in parts:
        try:
            read = orjson.loads(part)
        except orjson.JSONDecodeError as error:
            raise Malformed("metadata", "not JSON") from error
        yield from read if isinstance(read, list) else [read]


# --- The Native DICOM Model, read (PS3.19 §A.1) ----------------------------------------------------------------------


def _read_xml(parts: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    for part in parts:
        root = read_xml(part, "metadata", _MOST_XML_BYTES)
        if _local(root) != "NativeDicomModel":
            raise Malformed("metadata", "no NativeDicomModel")
        yield _data_set(root, 0)


def _local(element: Any) -> str:
    """The name of an element of the model; without a namespace too, as some write it."""
    name = str(element.tag)
    return name.removeprefix(f"{{{NAMESPACE}}}")


def _data_set(parent: Any, level: int) -> dict[str, Any]:
    if level > MOST_LEVELS:
        raise Malformed("metadata", f"deeper than {MOST_LEVELS} levels")
    attributes: dict[str, Any] = {}
    blocks: dict[tuple[str, str], int] = {}  # group and creator, to the block it reserves
    for element in parent:
        if _local(element) != "DicomAttribute":
            continue
        tag, vr = str(element.get("tag", "")).upper(), str(element.get("vr", ""))
        creator = element.get("privateCreator")
        if creator and len(tag) == 8:
            used = sum(group == tag[:4] for group, _ in blocks)
            block = blocks.setdefault((tag[:4], creator), 0x10 + used)
            if block > 0xFF:
                raise Malformed("metadata", "too many private creators in a group")
            attributes[f"{tag[:4]}00{block:02X}"] = {"vr": "LO", "Value": [creator]}
            tag = f"{tag[:4]}{block:02X}{tag[6:]}"
        attributes[tag] = _attribute(element, vr, level)
    return attributes


def _attribute(element: Any, vr: str, level: int) -> dict[str, Any]:
    told: dict[str, Any] = {"vr": vr}
    values: list[Any] = []
    for child in element:
        match _local(child):
            case "BulkData":
                told["BulkDataURI"] = str(child.get("uri", ""))
            case "InlineBinary":
                told["InlineBinary"] = "".join(str(child.text or "").split())
            case "Item":
                values.append(_data_set(child, level + 1))
            case "PersonName":
                values.append(_name(child))
            case "Value":
                values.append(_value(vr, str(child.text or "")))
    if values:
        told["Value"] = values
    return told


def _value(vr: str, text: str) -> Any:
    """Numbers as numbers; DS and IS as they are written. Raises Malformed."""
    try:
        if vr in _INTEGERS:
            return int(text) if text else None
        return float(text) if vr in _DECIMALS and text else text
    except ValueError as error:
        raise Malformed("metadata", f"a value of {vr} is no number") from error


def _name(person: Any) -> dict[str, str]:
    groups: dict[str, str] = {}
    for group in person:
        parts = {_local(component): str(component.text or "") for component in group}
        groups[_local(group)] = "^".join(parts.get(name, "") for name in _COMPONENTS).rstrip("^")
    return {name: groups[name] for name in _GROUPS if groups.get(name)}
