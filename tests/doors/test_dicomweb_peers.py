"""Another house's program at the DICOMweb door: dicomtrolley."""

from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from dicomweb_stage import Box
from making import ct


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with closing(Box(tmp_path / "box")) as box:
        yield box


def part10(number: int) -> bytes:
    out = BytesIO()
    ct(1, number, "1.2.3").save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_dicomtrolley_searches(box: Box) -> None:
    trolley = pytest.importorskip("dicomtrolley.qido_rs")
    requests = pytest.importorskip("requests")
    for number in (1, 2):
        box.keep(part10(number))
    with requests.Session() as session:
        searcher = trolley.QidoRS(session=session, url=f"http://127.0.0.1:{box.port}")
        [study] = searcher.find_studies(trolley.HierarchicalQuery(PatientID="IPP101"))
        assert study.uid == "1.2.3"
        assert list(searcher.find_studies(trolley.HierarchicalQuery(PatientID="NOBODY"))) == []
