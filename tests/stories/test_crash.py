"""kill -9 in the middle of eight senders: every instance answered 0x0000 is there and identical (promises P1, P2)."""

import asyncio
import hashlib
import json
import re
import signal
import subprocess
import urllib.request
from email import message_from_bytes
from pathlib import Path

import pytest
from archiving import crashing, keep
from ledger import kept_records
from making import STUDY, ct, data_set_bytes
from network import get, running

from drimbox.storage.outbox_file import open_outbox

SENDERS, EACH = 8, 40


def make_slices(folder, series):
    """Slices of 128 KiB, so that the kill falls into the middle of some."""
    folder.mkdir()
    for number in range(1, EACH + 1):
        made = ct(series, number, Rows=256, Columns=256, PixelData=bytes([series, number]) * 256 * 256)
        made.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def send_until_killed(folder, port):
    """Send by DCMTK; the digests of the files whose response was Success, by SOP Instance UID."""
    files = [str(file) for file in sorted(folder.iterdir())]
    command = ["/usr/bin/storescu", "-v", "-aec", "NODE", "127.0.0.1", str(port), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = re.findall(r"Sending file: (\S+)|Received Store Response \((\w+)", done.stdout + done.stderr)
    answered = [said[index - 1][0] for index, (_, status) in enumerate(said) if status == "Success"]
    return {uid: digest for file in answered for uid, digest in [digest_of(Path(file).read_bytes())]}


def digest_of(part10):
    """(SOP Instance UID, SHA-256 of the data set), found without any reader under test."""
    data_set = part10[144 + int.from_bytes(part10[140:144], "little") :]
    tail = data_set[data_set.index(b"\x08\x00\x18\x00UI") + 8 :][:65]
    return re.match(rb"[0-9.]+", tail)[0].decode(), hashlib.sha256(data_set).hexdigest()


@pytest.mark.skipif(not Path("/usr/bin/storescu").exists(), reason="DCMTK is not installed")
async def test_every_acknowledged_instance_survives_kill_9(tmp_path):
    folders = [make_slices(tmp_path / f"series{series}", series) for series in range(1, SENDERS + 1)]
    async with running(tmp_path) as site:
        senders = [
            asyncio.create_task(asyncio.to_thread(send_until_killed, it, site.node.dicom_port)) for it in folders
        ]
        kept = tmp_path / "node" / "own"
        async with asyncio.timeout(120):
            while sum(1 for _ in kept_records(kept)) < SENDERS * EACH // 16:  # early: the rest may be quick
                await asyncio.sleep(0.01)
        await site.node.stop(signal.SIGKILL)
        ledger = {uid: digest for answered in await asyncio.gather(*senders) for uid, digest in answered.items()}
        assert 0 < len(ledger) < SENDERS * EACH
        await site.node.start()
        study = f"{site.node.url}/dicom-web/studies/{STUDY}"
        listed = json.loads((await asyncio.to_thread(get, f"{study}/instances?limit=1000"))[1])
        came_back = await asyncio.to_thread(fetch_digests, study)
        assert ledger.items() <= came_back.items()
        # No query shows what retrieve cannot give; more may come meanwhile: whole files the kill left without a row.
        assert {item["00080018"]["Value"][0] for item in listed} <= came_back.keys()
        # And the node goes on: the rest arrives, what was kept is not kept twice.
        for folder in folders:
            await asyncio.to_thread(send_until_killed, folder, site.node.dicom_port)
        assert len(await asyncio.to_thread(fetch_digests, study)) == SENDERS * EACH
        assert sum(1 for _ in kept_records(kept)) == SENDERS * EACH


async def test_a_record_a_crash_left_without_rows_is_there_when_the_doors_open(tmp_path):
    made = ct()
    open_outbox(tmp_path / "node" / "own").close()  # as there is one beside each index
    with crashing(tmp_path / "node" / "own") as archive:
        await keep(archive, made)
    async with running(tmp_path) as site:
        study = f"{site.node.url}/dicom-web/studies/{STUDY}"
        digests = await asyncio.to_thread(fetch_digests, study)
        assert digests == {made.SOPInstanceUID: hashlib.sha256(data_set_bytes(made)).hexdigest()}


def fetch_digests(url):
    """SOP Instance UID -> SHA-256 of the data set bytes, read with the standard library's MIME parser."""
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=60) as answer:
        body = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode() + answer.read()
    return dict(digest_of(part.get_payload(decode=True)) for part in message_from_bytes(body).get_payload())


def test_the_digest_of_what_is_sent_is_the_digest_of_what_is_made(tmp_path):
    file = tmp_path / "one.dcm"
    ct().save_as(file, enforce_file_format=True)
    part10 = file.read_bytes()
    assert part10[144 + int.from_bytes(part10[140:144], "little") :] == data_set_bytes(ct())
