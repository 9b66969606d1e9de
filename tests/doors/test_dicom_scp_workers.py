"""`serve --workers N`: several processes receive through one port, into one archive, and end with the node."""

import asyncio
import os
import signal
from pathlib import Path

from making import STUDY, ct
from network import eventually, get, running
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

from drimbox.audit.trail import verify_trail
from drimbox.pacs.store import send_files

SENDERS, EACH = 6, 5


def make_folders(folder):
    for series in range(1, SENDERS + 1):
        (folder / str(series)).mkdir()
        for number in range(1, EACH + 1):
            ct(series, number).save_as(folder / str(series) / f"{number}.dcm", enforce_file_format=True)
        yield folder / str(series)


def children(pid):
    """Processes whose parent is `pid`, from the kernel."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


async def test_senders_are_shared_out_and_every_instance_is_served(tmp_path, monkeypatch):
    folders = list(make_folders(tmp_path))
    async with running(tmp_path, node={"workers": 3}) as site:
        port = site.node.dicom_port
        sends = [asyncio.to_thread(send_files, [it], "127.0.0.1", port, "MODALITY", "NODE") for it in folders]
        await asyncio.gather(*sends)
        status, body = await asyncio.to_thread(get, f"{site.node.url}/dicom-web/studies/{STUDY}/instances")
        assert status == 200
        assert body.count(b'"00080018"') == SENDERS * EACH
    trails = sorted((tmp_path / "node" / "trail").iterdir())
    assert [trail.name for trail in trails] == ["trail-1.jsonl", "trail-2.jsonl", "trail.jsonl"]
    # Two admissions and two ends each for six associations, shared out; the rest is the query.
    assert all(verify_trail(trail) >= 2 for trail in trails)


async def test_workers_end_with_a_killed_node(tmp_path):
    async with running(tmp_path, node={"workers": 2}) as site:
        workers = children(site.node.process.pid)
        assert len(workers) == 1
        await site.node.stop(signal.SIGKILL)
        await eventually(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers))
        await site.node.start()  # and the folder is free again


async def test_a_worker_that_dies_takes_no_new_association_with_it(tmp_path):
    [folder, *_] = make_folders(tmp_path)
    async with running(tmp_path, node={"workers": 2}) as site:
        [worker] = children(site.node.process.pid)
        os.kill(worker, signal.SIGKILL)
        await eventually(lambda: "worker_died" in (tmp_path / "node.log").read_text())
        for _ in range(4):
            sent = await asyncio.to_thread(send_files, [folder], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")
            assert len(sent) == EACH


def ask(port):
    """The UIDs that C-FIND gives for the series of the study, and those that C-GET brings of the study."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "SERIES", STUDY
    wanted.SeriesInstanceUID = ""
    arrived = []

    def take(event):
        arrived.append(event.request.AffectedSOPInstanceUID)
        return 0

    ae = AE("VIEWER")
    for context in (FIND, GET):
        ae.add_requested_context(context)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    roles = [build_role(CTImageStorage, scp_role=True)]
    association = ae.associate("127.0.0.1", port, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, take)])
    try:
        found = [one.SeriesInstanceUID for _, one in association.send_c_find(wanted, FIND) if one]
        wanted.QueryRetrieveLevel = "STUDY"
        *_, (last, _) = association.send_c_get(wanted, GET)
    finally:
        association.release()
    return found, sorted(arrived), last.Status


async def test_each_worker_answers_queries_and_gives_instances_back(tmp_path):
    [folder, *_] = make_folders(tmp_path)
    async with running(tmp_path, node={"workers": 2}) as site:
        port = site.node.dicom_port
        await asyncio.to_thread(send_files, [folder], "127.0.0.1", port, "MODALITY", "NODE")
        uids = [f"{STUDY}.1.{number}" for number in range(1, EACH + 1)]
        for _ in range(3):  # as many as there are turns in a round
            assert await asyncio.to_thread(ask, port) == ([f"{STUDY}.1"], uids, 0x0000)
    trails = [path.read_text() for path in (tmp_path / "node" / "trail").iterdir()]
    assert all('"search"' in trail and '"retrieve"' in trail for trail in trails)


async def test_each_process_gives_what_is_kept_in_the_other_native_form(tmp_path):
    """Associations go round the processes: whichever it is, the instance arrives."""
    made = ct(1, 1)
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.save_as(tmp_path / "implicit.dcm", enforce_file_format=True)

    def retrieve(port):
        arrived = []

        def take(event):
            arrived.append((event.context.transfer_syntax, event.dataset.PixelData == made.PixelData))
            return 0

        ae = AE("VIEWER")
        ae.add_requested_context(GET)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        role = build_role(CTImageStorage, scp_role=True)
        association = ae.associate("127.0.0.1", port, ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, take)])
        asked = Dataset()
        asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", STUDY
        last = list(association.send_c_get(asked, GET))[-1][0].Status
        association.release()
        return last, arrived

    async with running(tmp_path, node={"workers": 2}) as site:
        port = site.node.dicom_port
        await asyncio.to_thread(send_files, [tmp_path / "implicit.dcm"], "127.0.0.1", port, "MODALITY", "NODE")
        for _ in range(4):
            assert await asyncio.to_thread(retrieve, port) == (0, [(ExplicitVRLittleEndian, True)])
