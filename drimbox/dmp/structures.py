"""Which structure speaks, with which certificates and under which number (drim-m.md B.8, FAQ:9313) (pure).

The structure is the one of the report's legal authenticator. Three ways of identifying it: EG, the geographic site's
number everywhere; EJ, the legal entity's everywhere; EJ/EG, the site's in the metadata and the entity's in the VIHF.
So the VIHF always has the number of the configured structure, and only EJ changes what the metadata say.
"""

from collections.abc import Iterable
from dataclasses import replace

from drimbox.errors import Denied
from drimbox.model import Identifier, Report, Structure
from drimbox.settings import DmpStructure


def find_structure(structures: Iterable[DmpStructure], wanted: str) -> DmpStructure:
    """The structure whose certificates speak for the id `wanted`, its own or one of its sites'. Raises Denied."""
    for structure in structures:
        if wanted == structure.id or wanted in structure.sites:
            return structure
    raise Denied("structure", "no certificate in dmp.structures speaks for it")


def named_as(structure: Structure, known: DmpStructure) -> Structure:
    """`structure` under the number of the one whose certificates speak for it."""
    return replace(structure, id=Identifier(known.id, structure.id.authority, structure.id.namespace))


def report_as(report: Report, known: DmpStructure) -> Report:
    """The report as the metadata tell it: in mode EJ its structure goes by the number of the legal entity."""
    if known.mode != "EJ":
        return report
    return replace(report, legal_structure=named_as(report.legal_structure, known))
