"""`serve --workers N`: several processes receive through one port, into one archive, and end with the node."""

import asyncio
import os
import signal
from pathlib import Path

from making import STUDY, ct
from network import eventually, get, running

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
