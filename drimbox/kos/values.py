"""Values as a KOS has them: fitted to their place, or refused (PS3.5 §6.2). And data sets of such values."""

import re
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword

from drimbox.errors import Malformed
from drimbox.model import Code, Identifier

LONG, SHORT = 64, 16  # most characters of LO, and of one PN group; of SH
CONTROLS = re.compile(r"[\x00-\x1f\x7f\\]+")


def fitted(value: str, most: int = LONG) -> str:
    """Free text without what DICOM reserves, cut to its place: a shorter description is better than no manifest."""
    return CONTROLS.sub(" ", value).strip()[:most].rstrip()


def person_name(family: str, given: str) -> str:
    """A PN of two components."""
    parts = [re.sub(r"[\^=]", " ", fitted(part)).strip() for part in (family, given)]
    return "^".join(parts).rstrip("^")[:LONG]


def date_or_nothing(value: str) -> str:
    """A DA, empty when it is none."""
    return value if re.fullmatch(r"\d{8}", value) else ""


def time_or_nothing(value: str) -> str:
    """A TM, empty when it is none."""
    return value if re.fullmatch(r"\d{2,6}(\.\d{1,6})?", value) else ""


def whole(identifier: Identifier, most: int) -> str:
    """An identifier fits or is refused: cut or altered, it would be another one. Raises Malformed."""
    if len(identifier.value) > most or CONTROLS.search(identifier.value):
        raise Malformed("manifest", f"an identifier has a reserved character or more than {most} characters")
    return identifier.value


def issuer_item(identifier: Identifier) -> Dataset:
    """Who gave an identifier: an item of the HL7v2 Hierarchic Designator macro."""
    attributes: dict[str, Any] = {}
    if identifier.namespace:
        attributes["LocalNamespaceEntityID"] = fitted(identifier.namespace)
    if identifier.authority:
        attributes["UniversalEntityID"] = fitted(identifier.authority)
        attributes["UniversalEntityIDType"] = "ISO"
    return data_set(**attributes)


def code_item(code: Code) -> Dataset:
    """A code; of an OID of SNOMED CT, the designator DICOM knows."""
    scheme = "SCT" if code.scheme == "2.16.840.1.113883.6.96" else code.scheme
    meaning = fitted(code.meaning) or code.value
    return data_set(
        CodeValue=fitted(code.value, SHORT), CodingSchemeDesignator=fitted(scheme, SHORT), CodeMeaning=meaning
    )


def data_set(**attributes: Any) -> Dataset:
    """A data set from keywords of PS3.6. pydicom does not check the values: its warnings quote them."""
    made = Dataset()
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        made[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)
    return made
