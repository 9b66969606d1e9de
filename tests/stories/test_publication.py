"""A report becomes exactly one document in the DMP, whatever happens in between."""

import asyncio
import getpass
import json
import signal
import subprocess
import sys
from datetime import date

from making import STUDY, ct, rejection_note
from network import AT, Site, eventually, get, running, send

from drimbox.kos.read import read_manifest
from drimbox.sandbox.dmp_misbehave import Misbehaviour
from drimbox.sandbox.ris import PATIENT, Study, build_oru, send_report

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")


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


def held(dmp):
    """What the DMP shows as current: how many instances each manifest refers to."""
    return [
        sum(len(series.instances) for series in read_manifest(document.content).series)
        for document in dmp.app.documents()
        if document.status.endswith("Approved")
    ]


async def test_a_corrected_report_replaces_and_a_deleted_one_withdraws(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        await report(site)
        await settled(site)
        assert "MSA|AA|" in await report(site, status="C")
        await settled(site, jobs=2)
        assert held(dmp) == [3]
        assert len(dmp.app.documents("")) >= 2
        assert "MSA|AA|" in await report(site, status="D")
        items = await settled(site, jobs=3)
        assert [item["kind"] for item in items] == ["withdraw", "replace", "publish"]
        assert held(dmp) == []


async def test_rejected_images_leave_the_manifest_and_the_last_of_them_withdraws_it(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        await report(site)
        await settled(site)
        note = tmp_path / "note.dcm"
        rejection_note("113001", ct(1, 1)).save_as(note, enforce_file_format=True)
        await send(site, note)
        await settled(site, jobs=2)
        assert held(dmp) == [2]
        rejection_note("113001", ct(1, 2), ct(1, 3), number=2).save_as(note, enforce_file_format=True)
        await send(site, note)
        items = await settled(site, jobs=3)
        assert [item["kind"] for item in items] == ["withdraw", "replace", "publish"]
        assert held(dmp) == []


async def test_an_exam_that_is_taken_back_is_withdrawn(tmp_path, slices):
    async with running(tmp_path) as site, site.dmp() as dmp:
        await send(site, slices)
        await report(site)
        await settled(site)
        lines = ("MSH|^~\\&|RIS|CENTRE|BOX|SITE|20260102||OMI^O23^OMI_O23|77|P|2.5.1", "ORC|CA", f"IPC|ACC1|RP|{STUDY}")
        answer = await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, "\r".join(lines).encode())
        assert "MSA|AA|77" in answer
        items = await settled(site, jobs=2)
        assert [item["kind"] for item in items] == ["withdraw", "publish"]
        assert held(dmp) == []


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
    today = date.today().isoformat()  # before midnight, should that be near
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
        counted = await drimbox(site, "statistics", "--from", today)
        assert ";source;Reception_CR;1;succes" in counted
        assert ";source;TD2.1a_Publication_KOS;1;succes" in counted
        for secret in (PATIENT.ins.value, PATIENT.family, STUDY, "127.0.0.1", "BIDEAULT", "801234560801"):
            assert secret not in counted
        assert "day" in await drimbox(site, "statistics", "--from", "yesterday", code=2)
        assert "chain intact" in await drimbox(site, "verify-trail")


async def test_an_operator_discards_with_a_reason(tmp_path, slices):
    async with running(tmp_path) as site:
        assert "MSA|AA|" in await report(site)
        await drimbox(site, "outbox", "park", "1", "--reason", "exam of a test")
        await drimbox(site, "outbox", "discard", "1", "--reason", "exam of a test")
        shown = await drimbox(site, "outbox", "show", "1")
        assert "state: discarded" in shown and "last_error: exam of a test" in shown
        assert "discarded" in await drimbox(site, "outbox", "list")
        assert "exam of a test" not in await drimbox(site, "outbox", "list", "--state", "parked")
        traces = [
            json.loads(line) for line in (tmp_path / "node" / "trail" / "commands.jsonl").read_text().splitlines()
        ]
        assert {trace["who"] for trace in traces} == {f"operator:{getpass.getuser()}"}
        done = [trace["detail"] for trace in traces]
        assert done[:2] == ["outbox item 1 parked", "outbox item 1 discarded"]
        assert "exam of a test" not in str(traces)
        assert "2 files, chain intact" in await drimbox(site, "verify-trail")


async def test_a_decision_needs_a_reason_of_one_line(tmp_path, slices):
    async with running(tmp_path) as site:
        assert "MSA|AA|" in await report(site)
        for reason in ("", "  ", "x" * 201, "bell \a"):
            said = await drimbox(site, "outbox", "discard", "1", "--reason", reason, code=2)
            assert "reason" in said
        assert "state: discarded" not in await drimbox(site, "outbox", "show", "1")


async def drimbox(site: Site, *arguments: str, code: int = 0) -> str:
    """Run a command beside the running node, on its configuration; what it says when it ends with `code`."""
    command = [sys.executable, "-m", "drimbox", *arguments, "--config", str(site.folder / "node.toml")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout
