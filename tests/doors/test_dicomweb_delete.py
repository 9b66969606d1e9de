"""DELETE: for the operator, traced, and no byte is lost."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dicomweb_stage import STUDY, Box, path_of


@pytest.fixture
def box(tmp_path: Path, originals: dict[str, bytes]) -> Iterator[Box]:
    with closing(Box(tmp_path)) as box:
        for name in ("ct", "jpeg_ls", "report"):
            box.keep(originals[name])
        yield box


def series(box: Box) -> list[str]:
    return [item["0020000E"]["Value"][0] for item in box.get(f"/studies/{STUDY}/series").json]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_what_is_removed_is_not_found_any_more(box: Box, levels: int) -> None:
    path = "/".join(path_of("ct").split("/")[: 1 + 2 * levels])
    assert f"{STUDY}.1.1".encode() in box.get(f"/studies/{STUDY}/metadata").body
    reply = box.get(path, method="DELETE")
    assert (reply.status, reply.body) == (204, b"")
    assert box.get(path_of("ct")).status == 404
    assert box.get(f"{path_of('ct')}/frames/1").status == 404
    metadata = box.get(f"/studies/{STUDY}/metadata")
    assert f"{STUDY}.1.1".encode() not in metadata.body
    assert series(box) == ([] if levels == 1 else [f"{STUDY}.2", f"{STUDY}.8"])
    assert box.get(path, method="DELETE").status == 404
    trace = box.traces()[-1]
    assert (trace["action"], trace["study_uid"], trace["who"]) == ("operate", STUDY, "loopback")


def test_what_is_sent_again_is_shown_again(box: Box, originals: dict[str, bytes]) -> None:
    box.get(path_of("ct"), method="DELETE")
    box.keep(originals["ct"])
    assert box.get(path_of("ct")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies", 405),
        ("/studies/1.2.3", 404),
        (f"/studies/{STUDY}/series/1.2.3", 404),
        (f"/studies/{STUDY}/series", 405),
        (f"{path_of('ct')}/frames/1", 405),
        ("/studies/..", 400),
        ("/nothing", 404),
    ],
)
def test_nothing_else_can_be_removed(box: Box, path: str, status: int) -> None:
    assert box.get(path, method="DELETE").status == status
    assert len(series(box)) == 3


def test_a_visit_removes_nothing(tmp_path: Path) -> None:
    with closing(Box(tmp_path / "visit", only_study=STUDY)) as box:
        reply = box.get(f"/studies/{STUDY}", method="DELETE")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
