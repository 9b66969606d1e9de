"""Images stay in the PACS: they are brought in when a report needs them, and the PACS says what there is."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct, rejection_note
from network import AT, Site, eventually, running
from pacs_stage import Archive, dcmqrscp, needs_dcmqrscp, needs_orthanc, orthanc
from pydicom.dataset import FileDataset

from drimbox.kos.read import read_manifest
from drimbox.pacs.store import send_files
from drimbox.sandbox.nodes import free_port
from drimbox.sandbox.ris import Study, build_oru, send_report

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")


@asynccontextmanager
async def centre(folder: Path, start: Callable[..., Any], *, knows: bool = True, **pacs: Any) -> AsyncIterator[Any]:
    """A node, a PACS that keeps the images, and the DMP. knows: can the PACS send to the node?"""
    ports = [free_port() for _ in range(3)]
    (folder / "node.ports.json").write_text(json.dumps(ports))
    with start(folder / "pacs", {"NODE": ports[1]} if knows else {}) as archive:
        place = {"ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port, "fetch_reported": True}
        async with running(folder, pacs={**place, **pacs}) as site, site.dmp() as dmp:
            yield site, archive, dmp


async def acquire(folder: Path, port: int, called: str, *images: FileDataset) -> None:
    """The modality sends images."""
    place = folder / f"{len(list(folder.iterdir()))}"
    place.mkdir()
    for number, image in enumerate(images):
        image.save_as(place / f"{number}.dcm", enforce_file_format=True)
    await asyncio.to_thread(send_files, [place], "127.0.0.1", port, "MODALITY", called)


async def report(site: Site, study: Study = EXAM, **options: Any) -> None:
    message = build_oru(study, AT, **options)
    assert "MSA|AA|" in await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, message)


async def notice(site: Site) -> None:
    """The RIS says that the exam changed, not how: OMI^O23."""
    lines = ("MSH|^~\\&|RIS|CENTRE|BOX|SITE|20260102||OMI^O23^OMI_O23|78|P|2.5.1", "ORC|NW", f"IPC|ACC1|RP|{STUDY}")
    message = "\r".join(lines).encode()
    assert "MSA|AA|" in await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, message)


async def owed(site: Site, reason: str, state: str) -> dict[str, Any]:
    """The job that says so."""

    def found() -> list[dict[str, Any]]:
        return [item for item in site.outbox() if item["state"] == state and reason in item["last_error"]]

    (item,) = await eventually(found)
    return dict(item)


def shown(dmp: Any) -> list[list[str]]:
    """The instances of each manifest that is current, in order."""
    return [
        sorted(instance.sop_uid for series in read_manifest(document.content).series for instance in series.instances)
        for document in dmp.app.documents()
        if document.status.endswith("Approved")
    ]


def uids(*images: FileDataset) -> list[list[str]]:
    return [sorted(str(image.SOPInstanceUID) for image in images)]


def traced(site: Site, action: str, words: str) -> int:
    """How many traces of an action on the study have these words."""
    lines = (site.folder / "node" / "trail" / "trail.jsonl").read_text().splitlines()
    traces = [json.loads(line) for line in lines]
    return sum(action in json.dumps(trace) and words in json.dumps(trace) for trace in traces)


WAYS = [
    pytest.param(dcmqrscp, "move", marks=needs_dcmqrscp),
    pytest.param(dcmqrscp, "get", marks=needs_dcmqrscp),
    pytest.param(orthanc, "move", marks=needs_orthanc),
    pytest.param(orthanc, "get", marks=needs_orthanc),
]


@pytest.mark.parametrize(("start", "retrieve_by"), WAYS)
async def test_a_report_brings_its_images_in_once_and_they_are_published(
    tmp_path: Path, start: Any, retrieve_by: str
) -> None:
    images = [ct(1, 1), ct(1, 2), ct(2, 1)]
    async with centre(tmp_path, start, retrieve_by=retrieve_by) as (site, archive, dmp):
        await acquire(tmp_path, archive.port, archive.ae_title, *images)
        await report(site)
        await eventually(lambda: shown(dmp))
        assert shown(dmp) == uids(*images)
        assert traced(site, "retrieve", "from the PACS") == 2  # one a series
        late = ct(2, 2)
        await acquire(tmp_path, archive.port, archive.ae_title, late)
        await report(site, status="C")
        await eventually(lambda: shown(dmp) == uids(*images, late))
        assert traced(site, "retrieve", "from the PACS") == 3  # of the series that lacked something


@needs_dcmqrscp
async def test_a_report_waits_for_images_the_pacs_has_not_yet(tmp_path: Path) -> None:
    async with centre(tmp_path, dcmqrscp) as (site, archive, dmp):
        await report(site)
        item = await owed(site, "neither held here nor in the PACS", "due")
        assert "another study" not in item["last_error"]
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 1))
        await eventually(lambda: shown(dmp) == uids(ct(1, 1)))
        await report(site, Study(f"{STUDY}.7", "IPP101", "ACC1", "CT"))  # a UID the PACS does not know
        await owed(site, "another study has its accession number", "due")


@needs_dcmqrscp
async def test_images_that_reach_the_pacs_after_the_publication_are_found(tmp_path: Path) -> None:
    async with centre(tmp_path, dcmqrscp, look_again_s=[1, 2, 4, 8, 16, 32]) as (site, archive, dmp):
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 1))
        await report(site)
        await eventually(lambda: shown(dmp) == uids(ct(1, 1)))
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 2))
        await eventually(lambda: shown(dmp) == uids(ct(1, 1), ct(1, 2)))


@needs_dcmqrscp
@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (Study(STUDY, "IPP101", "ACC2", "CT"), "accession number"),
        (Study(STUDY, "IPP102", "ACC1", "CT"), "patient identifier"),
    ],
)
async def test_nothing_of_another_exam_is_brought_in(tmp_path: Path, study: Study, reason: str) -> None:
    async with centre(tmp_path, dcmqrscp) as (site, archive, dmp):
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 1))
        await report(site, study)
        await owed(site, reason, "parked")
        assert traced(site, "retrieve", "from the PACS") == 0
        assert shown(dmp) == []


@needs_dcmqrscp
async def test_a_pacs_that_cannot_send_is_asked_a_few_times_then_a_human_is(tmp_path: Path) -> None:
    async with centre(tmp_path, dcmqrscp, knows=False, fetch_attempts=3) as (site, archive, dmp):
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 1))
        await report(site)
        item = await owed(site, "declare it there", "parked")
        assert "after 3 attempts" in item["last_error"]
        assert traced(site, "retrieve", "from the PACS") == 3
        assert shown(dmp) == []


@needs_orthanc
async def test_what_the_pacs_lost_leaves_the_manifest_and_what_was_rejected_does_not_come_back(tmp_path: Path) -> None:
    images = [ct(1, 1), ct(1, 2), ct(1, 3)]
    async with centre(tmp_path, orthanc) as (site, archive, dmp):
        await acquire(tmp_path, archive.port, archive.ae_title, *images)
        await report(site)
        await eventually(lambda: shown(dmp) == uids(*images))
        await acquire(tmp_path, site.node.dicom_port, "NODE", rejection_note("113001", images[0]))
        await eventually(lambda: shown(dmp) == uids(*images[1:]))
        remove(archive, images[1])
        await notice(site)
        await eventually(lambda: shown(dmp) == uids(images[2]))
        assert traced(site, "retrieve", "from the PACS") == 1
        remove(archive, images[0])
        remove(archive, images[2])
        await report(site, status="C")
        await owed(site, "the PACS lists none of its images", "parked")
        assert shown(dmp) == uids(images[2])  # a human decides: an empty answer may be a fault of the PACS


def remove(archive: Archive, image: FileDataset) -> None:
    """Delete one instance from Orthanc."""
    (found,) = archive.ask("/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": image.SOPInstanceUID}})
    request = urllib.request.Request(f"{archive.api}/instances/{found}", method="DELETE")
    with urllib.request.urlopen(request, timeout=30):
        pass


@needs_dcmqrscp
async def test_a_withdrawn_report_asks_the_pacs_for_nothing_and_leaves_nothing_owed(tmp_path: Path) -> None:
    async with centre(tmp_path, dcmqrscp) as (site, archive, dmp):
        await report(site)
        await owed(site, "neither held here nor in the PACS", "due")
        await report(site, status="D")
        await eventually(lambda: all(item["state"] in ("done", "discarded") for item in site.outbox()))
        await acquire(tmp_path, archive.port, archive.ae_title, ct(1, 1))
        asked = traced(site, "search", "instances of the PACS")
        await report(site, Study(f"{STUDY}.7", "IPP101", "ACC7", "CT"))  # looked at after whatever was owed before
        await owed(site, "neither held here nor in the PACS", "due")
        assert traced(site, "retrieve", "from the PACS") == 0
        assert asked < traced(site, "search", "instances of the PACS")
        assert shown(dmp) == []


async def test_a_job_says_that_its_images_still_arrive(tmp_path: Path) -> None:
    publish = {"settle_s": 3600, "poll_s": 0.1}
    async with running(tmp_path, publish=publish) as site, site.dmp() as dmp:
        await acquire(tmp_path, site.node.dicom_port, "NODE", ct(1, 1))
        await report(site)
        item = await owed(site, "its images still arrive", "due")
        assert item["attempts"] == 0
        assert shown(dmp) == []
