"""A Key Object Selection Document as a bounded data set, and its values from their bytes.

pydicom's own conversion of values warns about faulty ones, and quotes them: here each value is taken as it was stored.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement

from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from drimbox.errors import Malformed, TooLarge
from drimbox.kos import codes
from drimbox.model import Code

MAX_BYTES = 24 * 2**20  # a drim manifest of 60,000 instances has 16 MiB
_MAX_ITEMS = 300_000
_ITEM = b"\xfe\xff\x00\xe0"


def open_document(data: bytes) -> Dataset:
    """The data set of a KOS of Part 10. Raises Malformed (not a KOS), TooLarge."""
    if len(data) > MAX_BYTES:
        raise TooLarge("manifest", f"over {MAX_BYTES} bytes")
    if data.count(_ITEM) > _MAX_ITEMS:
        raise TooLarge("manifest", f"more than {_MAX_ITEMS} items")
    syntax = read_preface(InMemory(data)).transfer_syntax
    if syntax not in (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN):
        raise Malformed("manifest", "only Little Endian, Explicit or Implicit VR, not deflated, is read")
    try:
        dataset = dcmread(BytesIO(data))
        kind = text_of(dataset, "SOPClassUID")
    except (Exception, RecursionError) as error:  # pydicom raises a dozen kinds on broken bytes
        raise Malformed("manifest", "the data set cannot be read") from error
    if kind != codes.KEY_OBJECT_SELECTION:
        raise Malformed("manifest", "not a Key Object Selection Document")
    return dataset


def title_of(dataset: Dataset) -> str:
    """Code value of the document title, or of a content item's concept name; empty when there is none."""
    return next((text_of(code, "CodeValue") for code in items_of(dataset, "ConceptNameCodeSequence")), "")


def items_of(dataset: Dataset | None, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence; none when it is absent. Raises Malformed when it cannot be cut."""
    tag = tag_for_keyword(keyword)
    if dataset is None or tag is None or tag not in dataset:
        return
    try:
        value: Any = dataset[tag].value
        items = list(value or ())
    except (Exception, RecursionError) as error:  # sequences are only cut when they are asked for
        raise Malformed("manifest", "a sequence cannot be read") from error
    yield from (item for item in items if isinstance(item, Dataset))


def text_of(dataset: Dataset | None, keyword: str) -> str:
    """A value as text, several of them with backslashes between; empty when absent."""
    tag = tag_for_keyword(keyword)
    try:
        element = dataset.get_item(tag) if dataset is not None and tag is not None else None
    except Exception as error:  # of some elements pydicom wants to know the VR first
        raise Malformed("manifest", f"{keyword} cannot be read") from error
    raw = element.value if isinstance(element, RawDataElement) else None
    if raw is None:
        return ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("iso8859-1")
    return text.strip(" \0\r\n\t")


def code_of(item: Dataset) -> Code:
    """An item of a code sequence."""
    return Code(text_of(item, "CodeValue"), text_of(item, "CodingSchemeDesignator"), text_of(item, "CodeMeaning"))


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """A value as a whole number; None when absent, or anything else."""
    return read_number(text_of(dataset, keyword))


def read_number(text: str) -> int | None:
    """An IS or DS without fraction, in its 12 characters; None for anything else."""
    return int(text) if len(text) <= 12 and re.fullmatch(r"[+-]?[0-9]+", text) else None
