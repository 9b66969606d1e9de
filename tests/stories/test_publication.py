"""A report becomes exactly one document in the DMP, whatever happens in between."""

import asyncio
import signal
import subprocess
import sys

import pytest
from making import STUDY, ct
from network import AT, Site, eventually, get, running

from drimbox.pacs.store import send_files
from drimbox.sandbox.dmp_misbehave import Misbehaviour
from drimbox.sandbox.ris import Study, build_oru, send_report

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")


@pytest.fixture
def slices(tmp_path):
    folder = tmp_path / "slices"
    folder.mkdir()
    for number in range(1, 4):
        ct(1, number).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


async def send(site: Site, folder):
    return await asyncio.to_thread(send_files, [folder], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")


async def report(site: Site, study=EXAM, **options):
    return await asyncio.to_thread(lambda: site.send_report(study, **options))


async def settled(site: Site, jobs: int = 1):
    def states():
        items = site.outbox()
        return items if len(items) == jobs and all(item["state"] in ("done", "parked") for item in items) else None

    return await eventually(states)


async def test_the_dmp_is_down_the_node_is_killed_and_one_document_arrives(tmp_path, slices):
    async with running(tmp_path) as site:
        await send(site, slices)
        assert "MSA|AA|" in await report(site)
        frozen = (await eventually(lambda: [i for i in site.outbox() if i["state"] == "frozen" and i["attempts"]]))[0]
        await site.node.stop(signal.SIGKILL)
        await site.node.start()
        async with site.dmp() as dmp:
            [item] = await settled(site)
            assert (item["state"], item["unique_id"]) == ("done", frozen["unique_id"])
            [document] = dmp.app.documents()
            assert document.unique_id == frozen["unique_id"]
        status, kos = await asyncio.to_thread(
            get, f"{site.node.url}/api/v1/studies/{STUDY}/manifest", "application/dicom"
        )
        assert status == 200
        (tmp_path / "kos.dcm").write_bytes(kos)


async def test_the_report_comes_before_the_images(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        assert "MSA|AA|" in await report(site)
        waiting = (await eventually(lambda: [i for i in site.outbox() if i["attempts"]]))[0]
        assert waiting["state"] == "due"
        assert "not held here" in waiting["last_error"]
        await send(site, slices / "1.dcm")
        await settled(site)
        assert len(dmp.app.documents()) == 1


async def test_a_late_image_replaces_the_manifest(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        await report(site)
        await settled(site)
        late = tmp_path / "late"
        late.mkdir()
        ct(2, 1).save_as(late / "late.dcm", enforce_file_format=True)
        await send(site, late)
        items = await settled(site, jobs=2)
        assert [item["kind"] for item in items] == ["replace", "publish"]
        documents = dmp.app.documents()
        assert sorted(document.status.rpartition(":")[2] for document in documents) == ["Approved", "Deprecated"]


async def test_the_same_report_again_changes_nothing(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        message = build_oru(EXAM, AT, message_id="REPLAYED1")
        for _ in range(3):
            answer = await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, message)
            assert "MSA|AA|REPLAYED1" in answer
        await settled(site)
        assert len(dmp.app.documents()) == 1


async def test_images_of_another_exam_are_never_published_under_this_report(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        assert "MSA|AA|" in await report(site, Study(STUDY, "ANOTHER-PATIENT", "ACC1", "CT"))
        [item] = await settled(site)
        assert item["state"] == "parked"
        assert "patient identifier" in item["last_error"]
        assert dmp.app.documents() == []


async def test_an_operator_sees_and_retries_a_parked_job_from_the_command_line(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        dmp.app.misbehave("register", Misbehaviour("no-dmp"))
        await report(site)
        await settled(site)
        assert "state: parked" in await drimbox(site, "outbox", "show", "1")
        assert "parked" in await drimbox(site, "outbox")
        await drimbox(site, "outbox", "retry", "1")
        [item] = await eventually(lambda: [i for i in site.outbox() if i["state"] == "done"])
        assert item["unique_id"] == dmp.app.documents()[0].unique_id
        assert "chain intact" in await drimbox(site, "verify-trail")


async def drimbox(site: Site, *arguments: str) -> str:
    """Run a command beside the running node, on its configuration."""
    command = [sys.executable, "-m", "drimbox", *arguments, "--config", str(site.folder / "node.toml")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
