"""Reading values out of the DICOM JSON model (PS3.18 annex F), which is how attributes travel inside the node."""

from collections.abc import Mapping
from typing import Any

Attributes = dict[str, Any]


def text(attributes: Mapping[str, Any], tag: str) -> str:
    """The first value of `tag` as text, empty when there is none; of a person name, its alphabetic group."""
    value = (attributes.get(tag, {}).get("Value") or [None])[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic")
    return "" if value is None else str(value)


def integer(attributes: Mapping[str, Any], tag: str) -> int | None:
    """The first value of `tag` as a whole number of at most 63 bits, None when there is none."""
    value = (attributes.get(tag, {}).get("Value") or [None])[0]
    return int(value) if isinstance(value, int | float) and abs(value) < 2**63 else None
