"""The DICOMweb door: metadata as JSON, written once and joined, and as XML."""

import gzip
import itertools
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from dicomweb_stage import ROOT, SOURCES, STUDY, Box, big_instance, path_of, renamed
from lxml import etree
from pydicom.data import get_testdata_file

from drimbox.dicom.xml_model import NAMESPACE
from drimbox.flows.describe import Describe, rest_s
from drimbox.storage.archive import Archive

XML = 'multipart/related; type="application/dicom+xml"'


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Box]:
    with closing(Box(tmp_path)) as box:
        box.keep(slice_of(1, 1))
        box.keep(slice_of(1, 2))
        box.keep(slice_of(2, 1))
        yield box


def slice_of(series: int, number: int) -> bytes:
    return renamed(pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False)), series, number)


def sops(found: list[dict[str, Any]]) -> list[str]:
    return [item["00080018"]["Value"][0] for item in found]


def files(box: Box) -> list[Path]:
    return sorted((box.archive.root / "metadata").glob("*/*"))


def describe(box: Box) -> Describe:
    return Describe(box.archive, box.retrieve.admit, ROOT)


def test_metadata_are_written_once_and_read_without_the_instances(small: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {path: small.get(path, Accept_Encoding="gzip").body for path in levels()}
    assert len(files(small)) == 2

    def untouched(*args: object) -> None:
        raise AssertionError("an instance was opened")

    monkeypatch.setattr(Archive, "open", untouched)
    for path, body in first.items():
        reply = small.get(path, Accept_Encoding="gzip")
        assert (reply.status, reply.body) == (200, body)
        assert int(reply.headers["content-length"]) == len(body)
        plain = small.get(path)
        assert plain.body == gzip.decompress(body)
        assert int(plain.headers["content-length"]) == len(plain.body)


def levels() -> list[str]:
    return [f"/studies/{STUDY}/metadata", f"/studies/{STUDY}/series/{STUDY}.1/metadata"]


def test_a_study_is_its_series_in_one_gzip_member(small: Box) -> None:
    for _ in ("cold", "warm"):
        inflated = zlib.decompressobj(31)
        found = orjson.loads(inflated.decompress(small.get(levels()[0], Accept_Encoding="gzip").body))
        assert inflated.eof
        assert inflated.unused_data == b""
        assert sops(found) == [f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.2.1"]
        uri = found[1]["7FE00010"]["BulkDataURI"]
        assert uri == f"{ROOT}/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.2/bulkdata/7FE00010"


@pytest.mark.parametrize("packs", ["", "gzip"])
def test_one_more_instance_is_there_at_once_and_changes_the_tag(small: Box, packs: str) -> None:
    path = levels()[1]
    before = small.get(path, Accept_Encoding=packs)
    assert small.get(path, Accept_Encoding=packs, If_None_Match=before.headers["etag"]).status == 304
    small.keep(slice_of(1, 3))
    after = small.get(path, Accept_Encoding=packs, If_None_Match=before.headers["etag"])
    assert after.status == 200
    body = gzip.decompress(after.body) if packs else after.body
    assert sops(orjson.loads(body)) == [f"{STUDY}.1.{n}" for n in (1, 2, 3)]
    # The other series of the study is as it was.
    other = f"/studies/{STUDY}/series/{STUDY}.2/metadata"
    assert small.get(other).headers["etag"] == small.get(other).headers["etag"]


def test_an_instance_that_was_removed_and_sent_again_changes_the_tag(small: Box) -> None:
    path = levels()[1]
    before = small.get(path).headers["etag"]
    small.run(small.archive.forget(STUDY))
    assert small.get(path).status == 404
    small.keep(slice_of(1, 1))
    small.keep(slice_of(1, 2))
    assert small.get(path).headers["etag"] != before


def test_those_written_longest_ago_go_until_the_others_fit(small: Box) -> None:
    folder = small.archive.metadata._folder
    for number, (minute, size) in enumerate([(3, 10), (1, 40), (2, 7), (1, 20), (2, 5), (9, 100)]):
        place = folder / f"{number:02}" / "file"
        place.parent.mkdir(parents=True)
        place.write_bytes(bytes(size))
        os.utime(place, (60 * minute + number, 60 * minute + number))

    def left() -> set[str]:
        return {path.parent.name for path in files(small)}

    assert small.archive.metadata.shrink(182) == 0
    assert small.archive.metadata.shrink(181) == 1  # of minute 1 the older one, 40 bytes
    assert left() == {"00", "02", "03", "04", "05"}
    assert small.archive.metadata.shrink(118) == 2  # 20, then 7 of minute 2
    assert left() == {"00", "04", "05"}
    assert small.archive.metadata.shrink(99) == 3
    assert left() == set()


def test_writing_ahead_rests_longer_while_images_arrive(small: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rest_s(1, while_receiving=True) > rest_s(1, while_receiving=False) > 0
    told: list[bool] = []

    def rest(_worked_s: float, *, while_receiving: bool) -> float:
        told.append(while_receiving)
        return 0

    monkeypatch.setattr("drimbox.flows.describe.rest_s", rest)
    small.run(small.archive.caught_up())
    assert small.archive.kept == 3
    assert small.run(describe(small).write_due(before=1e12)) == 2
    assert told and not any(told)
    told.clear()
    small.keep(slice_of(2, 2))
    small.run(small.archive.caught_up())
    seen = itertools.count()
    monkeypatch.setattr(Archive, "kept", property(lambda _self: next(seen)))
    assert small.run(describe(small).write_due(before=1e12)) == 1
    assert told and all(told)


def test_what_is_quiet_is_written_ahead_and_what_is_gone_is_removed(small: Box) -> None:
    assert files(small) == []
    small.run(small.archive.caught_up())
    assert small.run(describe(small).write_due(before=1e12)) == 2
    assert small.run(describe(small).write_due(before=1e12)) == 0
    assert len(files(small)) == 2
    small.keep(slice_of(2, 2))
    small.run(small.archive.caught_up())
    assert small.run(describe(small).write_due(before=0)) == 0  # not quiet yet
    assert small.run(describe(small).write_due(before=1e12)) == 1
    small.run(small.archive.forget(STUDY))
    assert small.run(small.archive.metadata.remove_gone()) == 2
    assert files(small) == []
    assert small.run(small.archive.metadata.remove_gone()) == 0


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:-9] + b"x" + b[-8:], lambda b: b"", lambda b: b[:20]]
)
def test_a_damaged_file_is_made_again(small: Box, damage: Any) -> None:
    good = small.get(levels()[1]).body
    (file,) = files(small)
    file.write_bytes(damage(file.read_bytes()))
    assert small.get(levels()[1]).body == good


def test_the_oldest_go_when_they_take_too_much(small: Box) -> None:
    small.get(levels()[0])
    newest = max(files(small), key=lambda path: path.stat().st_mtime_ns)
    assert small.archive.metadata.shrink(newest.stat().st_size) == 1
    assert files(small) == [newest]
    assert small.archive.metadata.shrink(0) == 1


def test_a_volume_that_takes_nothing_does_not_stop_the_answer(small: Box) -> None:
    (small.archive.root / "metadata").write_bytes(b"in the way")
    assert len(small.get(levels()[0]).json) == 3


def test_a_series_that_cannot_be_read_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Box(tmp_path)) as box:
        box.keep(slice_of(1, 1))
        (held,) = box.run(box.archive.held(STUDY))
        box.archive.place(held).path.unlink()
        assert box.get(levels()[1]).status == 500
        assert box.run(describe(box).write_due(before=1e12)) == 1
        assert box.run(describe(box).write_due(before=1e12)) == 0  # not tried again for ever


def test_metadata_as_xml_at_every_level(box: Box) -> None:
    series = f"/studies/{STUDY}/series/{STUDY}.20"
    for path, count in ((f"/studies/{STUDY}", len(SOURCES) + 3), (series, 3), (path_of("ct"), 1)):
        reply = box.get(f"{path}/metadata", XML)
        assert reply.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
        assert len(reply.parts) == count
        for headers, content in reply.parts:
            assert headers["Content-Type"] == "application/dicom+xml"
            assert int(headers["Content-Length"]) == len(content)
            assert etree.fromstring(content).tag == f"{{{NAMESPACE}}}NativeDicomModel"


def test_one_instance_may_come_as_one_document(box: Box) -> None:
    reply = box.get(f"{path_of('ct')}/metadata", "application/dicom+xml", Accept_Encoding="gzip")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/dicom+xml")
    values = {
        attribute.get("keyword"): [value.text for value in attribute.findall(f"{{{NAMESPACE}}}Value")]
        for attribute in etree.fromstring(gzip.decompress(reply.body))
    }
    assert values["PixelSpacing"] == ["0.661468", "0.661468"]
    assert values["RescaleIntercept"] == ["-1024"]
    assert values["Rows"] == ["128"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("*/*", "application/dicom+json"),
        (f"{XML};q=0.5, application/dicom+json", "application/dicom+json"),
        (f"{XML}, application/dicom+json;q=0.5", XML),
        ("application/dicom+json, multipart/related; type=application/octet-stream", "application/dicom+json"),
        ("multipart/related; type=application/dicom+xml, ,", XML),
        ("multipart/*", XML),
    ],
)  # fmt: skip
def test_json_or_xml_as_accepted(box: Box, accept: str, content_type: str) -> None:
    assert box.get(levels()[1], accept).headers["content-type"].startswith(content_type)


def test_neither_is_406_and_says_what_is_possible(box: Box) -> None:
    reply = box.get(levels()[1], "image/png")
    assert reply.status == 406
    assert reply.json["detail"] == (
        "Accept: possible here: application/dicom+json, application/json, "
        'multipart/related; type="application/dicom+xml"'
    )


def test_head_of_metadata_tells_its_length(box: Box) -> None:
    whole = box.get(levels()[0], Accept_Encoding="gzip")
    head = box.get(levels()[0], method="HEAD", Accept_Encoding="gzip")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(box.get(levels()[0], Accept_Encoding="gzip").body)
    assert head.headers["etag"] == whole.headers["etag"]


def test_metadata_of_a_visit_are_of_its_own_root(tmp_path: Path) -> None:
    with closing(Box(tmp_path, only_study=STUDY)) as box:
        box.keep(big_instance(1, 1))
        assert box.get(f"/studies/{STUDY}/metadata").status == 200
        assert box.get("/studies/1.2.3/metadata").status == 404
