"""Which certificate speaks for a report, and under which number: EG, EJ, EJ/EG (drim-m.md B.8)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from drimbox.dmp.structures import find_structure, named_as, report_as
from drimbox.errors import Denied
from drimbox.model import Identifier, Patient, Professional, Report, Structure
from drimbox.settings import Dmp, DmpStructure

FINESS = "1.2.250.1.71.4.2.2"
SITE, OTHER_SITE, ENTITY = "1750000011", "1750000029", "1750000003"
NOBODY = Professional(Identifier("8"), "A", "B")
PLACE = Structure(Identifier(SITE, FINESS), "Site")
REPORT = Report(
    "m", b"", b"", Identifier("1"), "F", Patient(None, None, "", ""), NOBODY, PLACE, NOBODY, PLACE, exams=()
)


def structure(identifier: str, mode: str = "EG", sites: tuple[str, ...] = ()) -> DmpStructure:
    file = Path("x")
    return DmpStructure(
        id=identifier, name="n", mode=mode, sites=sites,
        tls_certificate=file, tls_key=file, sign_certificate=file, sign_key=file,
    )  # fmt: skip


def test_the_certificate_is_that_of_the_site_or_of_its_entity() -> None:
    own, entity = structure(OTHER_SITE), structure(ENTITY, "EJ/EG", (SITE,))
    assert find_structure([own, entity], SITE) is entity
    assert find_structure([own, entity], OTHER_SITE) is own
    with pytest.raises(Denied):
        find_structure([own, entity], "1750000037")


@pytest.mark.parametrize(
    ("known", "in_metadata", "in_vihf"),
    [
        (structure(SITE, "EG"), SITE, SITE),
        (structure(ENTITY, "EJ/EG", (SITE,)), SITE, ENTITY),
        (structure(ENTITY, "EJ", (SITE,)), ENTITY, ENTITY),
    ],
)
def test_each_mode_has_its_numbers(known: DmpStructure, in_metadata: str, in_vihf: str) -> None:
    told = report_as(REPORT, known)
    assert told.legal_structure.id == Identifier(in_metadata, FINESS)
    assert named_as(REPORT.legal_structure, known).id == Identifier(in_vihf, FINESS)


def test_sites_need_an_entity_and_are_named_once() -> None:
    with pytest.raises(ValidationError, match="mode must be EJ"):
        structure(SITE, "EG", (OTHER_SITE,))
    with pytest.raises(ValidationError, match="twice"):
        Dmp(structures=(structure(SITE), structure(ENTITY, "EJ/EG", (SITE,))))
