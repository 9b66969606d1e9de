"""kill -9 in the middle of eight senders: every instance answered 0x0000 is there and identical (promises P1, P2)."""

import asyncio
import hashlib
import json
import signal
from email import message_from_bytes

from making import STUDY, ct, data_set_bytes
from network import get, running

from drimbox.sandbox.modality import send_study

SENDERS, EACH = 8, 40


def make_slices(folder, series):
    """Slices of 128 KiB, so that the kill falls into the middle of some."""
    folder.mkdir()
    for number in range(1, EACH + 1):
        made = ct(series, number, Rows=256, Columns=256, PixelData=bytes([series, number]) * 256 * 256)
        made.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def send_until_killed(folder, port, ledger):
    """Send one file after the other; what was answered 0x0000 goes into the ledger with its digest."""
    for file in sorted(folder.iterdir()):
        try:
            [sent] = send_study(file, "127.0.0.1", port, "MODALITY", "NODE")
        except Exception:
            return
        ledger[sent.sop_uid] = sent.digest


async def test_every_acknowledged_instance_survives_kill_9(tmp_path):
    folders = [make_slices(tmp_path / f"series{series}", series) for series in range(1, SENDERS + 1)]
    ledger: dict[str, str] = {}
    async with running(tmp_path) as site:
        senders = [
            asyncio.create_task(asyncio.to_thread(send_until_killed, folder, site.node.dicom_port, ledger))
            for folder in folders
        ]
        async with asyncio.timeout(60):
            while len(ledger) < SENDERS * EACH // 4:
                await asyncio.sleep(0.01)
        await site.node.stop(signal.SIGKILL)
        await asyncio.gather(*senders)
        assert SENDERS * EACH // 4 <= len(ledger) < SENDERS * EACH
        await site.node.start()
        root = f"{site.node.url}/dicom-web"
        for series in range(1, SENDERS + 1):
            acknowledged = {uid: digest for uid, digest in ledger.items() if uid.startswith(f"{STUDY}.{series}.")}
            kept = await asyncio.to_thread(fetch_digests, f"{root}/studies/{STUDY}/series/{STUDY}.{series}")
            assert acknowledged.items() <= kept.items()
        # No query shows what retrieve cannot give.
        listed = json.loads((await asyncio.to_thread(get, f"{root}/studies/{STUDY}/instances?limit=1000"))[1])
        assert len(listed) >= len(ledger)
        # And the node goes on: the rest arrives, what was kept is not kept twice.
        for folder in folders:
            await asyncio.to_thread(send_study, folder, "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")
        listed = json.loads((await asyncio.to_thread(get, f"{root}/studies/{STUDY}/instances?limit=1000"))[1])
        assert len(listed) == SENDERS * EACH


def fetch_digests(url):
    """SOP Instance UID -> SHA-256 of the data set bytes, read with the standard library's MIME parser."""
    import urllib.request

    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=60) as answer:
        body = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode() + answer.read()
    found = {}
    for part in message_from_bytes(body).get_payload():
        data = part.get_payload(decode=True)
        data_set = data[144 + int.from_bytes(data[140:144], "little") :]
        tail = data_set[data_set.index(b"\x08\x00\x18\x00UI") + 8 :][:64]
        uid = tail[: tail.index(b"\x08\x00")].decode().strip("\x00")
        found[uid] = hashlib.sha256(data_set).hexdigest()
    return found


def test_the_digest_of_what_is_sent_is_the_digest_of_what_is_made(tmp_path):
    file = tmp_path / "one.dcm"
    ct().save_as(file, enforce_file_format=True)
    part10 = file.read_bytes()
    assert part10[144 + int.from_bytes(part10[140:144], "little") :] == data_set_bytes(ct())
