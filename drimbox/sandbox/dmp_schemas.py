"""The schemas the sandbox DMP judges with."""

from functools import cache
from pathlib import Path

from lxml import etree

_SCHEMAS = Path(__file__).parent / "schemas"


@cache
def read_schema(name: str) -> etree.XMLSchema:
    """A schema of the folder, compiled once."""
    return etree.XMLSchema(etree.parse(_SCHEMAS / name))
