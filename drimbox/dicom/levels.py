"""What can be asked for at each level of a query: one list for C-FIND and QIDO-RS (PS3.4 §C.6, PS3.18 §10.6.1)."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from drimbox.dicom.match import Level
from drimbox.dicom.scan import INDEXED, INSIDE

_COUNTED: Final[Mapping[Level, frozenset[str]]] = {
    "study": frozenset({"00080056", "00080061", "00201206", "00201208"}),
    "series": frozenset({"00080056", "00201209"}),
    "instance": frozenset({"00080056", "00083002"}),
}

MATCHED: Final[Mapping[Level, frozenset[str]]] = MappingProxyType(
    {
        "study": _COUNTED["study"] | INDEXED["study"].keys(),
        "series": _COUNTED["series"] | INDEXED["study"].keys() | INDEXED["series"].keys(),
        "instance": _COUNTED["instance"]
        | INDEXED["study"].keys()
        | INDEXED["series"].keys()
        | INDEXED["instance"].keys(),
    }
)
"""By level, the tags of what is stored at it or above it, and of what is counted for it."""


def is_among(path: str, tags: Collection[str]) -> bool:
    """Is an attribute one of `tags`, or in the items of a sequence that is? path: its tag, or tags joined by dots."""
    outer, _, inner = path.partition(".")
    return outer in tags and (not inner or inner in INSIDE.get(outer, ()))
