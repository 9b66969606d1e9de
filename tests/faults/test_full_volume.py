"""A full disk refuses what is new and keeps the rest going (promise P9); a failing one takes nothing more (P10)."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from ledger import Site, check
from making import STUDY, ct, data_set_bytes
from network import eventually, get, running

from drimbox.audit.trail import verify_trail
from drimbox.errors import DrimboxError, Unavailable
from drimbox.pacs.store import send_files
from drimbox.sandbox.ris import Study

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")
BYTES = 2 << 20  # of the pixels of one instance


def make_files(folder, series, count):
    """(folder, SOP Instance UID -> SHA-256 of the data set) of instances of two megabytes."""
    target = folder / f"series{series}"
    target.mkdir()
    digests = {}
    for number in range(1, count + 1):
        made = ct(series, number, Rows=1024, Columns=1024, PixelData=bytes([number]) * BYTES)
        made.save_as(target / f"{number:03}.dcm", enforce_file_format=True)
        digests[str(made.SOPInstanceUID)] = hashlib.sha256(data_set_bytes(made)).hexdigest()
    return target, digests


def send(site, path):
    send_files([path], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")


def listed(site):
    status, body = get(f"{site.node.url}/dicom-web/studies/{STUDY}/instances?limit=1000")
    return {item["00080018"]["Value"][0] for item in json.loads(body)} if status == 200 else set()


def fetched(site, uid):
    """SHA-256 of the data set of an instance, by WADO-RS."""
    series = uid.rpartition(".")[0]
    url = f"{site.node.url}/dicom-web/studies/{STUDY}/series/{series}/instances/{uid}"
    status, body = get(url, 'multipart/related; type="application/dicom"; transfer-syntax=*')
    assert status == 200
    part10 = body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--")]
    return hashlib.sha256(part10[144 + int.from_bytes(part10[140:144], "little") :]).hexdigest()


async def test_a_full_volume_refuses_images_and_keeps_the_rest_going(tmp_path, mounts):
    volume = mounts.tmpfs(112)  # 64 of them in reserve
    folder, digests = await asyncio.to_thread(make_files, tmp_path, 1, 40)
    async with running(tmp_path, {"data_dir": str(volume / "node")}) as site:
        with pytest.raises(Unavailable, match="A700"):
            await asyncio.to_thread(send, site, folder)
        kept = listed(site)
        assert 15 < len(kept) < 25
        # Reading, reports, the outbox and the trail go on, on what is in reserve.
        assert {uid: await asyncio.to_thread(fetched, site, uid) for uid in kept} == {uid: digests[uid] for uid in kept}
        assert "MSA|AA|" in await asyncio.to_thread(site.send_report, EXAM)
        async with site.dmp():
            await eventually(lambda: [item["state"] for item in site.outbox()] == ["done"])
        traces = verify_trail(volume / "node" / "trail" / "trail.jsonl")
        assert traces > 4  # the association, the query, the minute of reading, the report, its publication
        # Somebody else takes the reserve too: nothing more is acknowledged, and nothing leaves without its trace.
        await asyncio.to_thread(fill, volume / "ballast")
        assert "MSA|AA|" not in await asyncio.to_thread(site.send_report, Study("1.2.3", "IPP9", "ACC9", "CT"))
        await eventually(
            lambda: get(f"{site.node.url}/dicom-web/studies")[0] == 507
        )  # the last page of the trail is full
        with pytest.raises(Unavailable):
            await asyncio.to_thread(send, site, folder)
        # Space is made, and nobody restarts anything.
        (volume / "ballast").unlink()
        mounts.remount(volume, "size=256m")
        assert get(f"{site.node.url}/health/ready")[0] == 200
        assert "MSA|AA|" in await asyncio.to_thread(site.send_report, Study("1.2.3", "IPP9", "ACC9", "CT"))
        await asyncio.to_thread(send, site, folder)
        assert listed(site) == digests.keys()
        assert verify_trail(volume / "node" / "trail" / "trail.jsonl") > traces


def fill(path: Path):
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


async def test_a_file_system_that_turns_read_only_still_serves(tmp_path, mounts):
    disk = mounts.ext4(tmp_path / "disk.img", "errors=remount-ro")
    trigger = Path("/sys/fs/ext4") / mounts.device(disk) / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("this kernel has no way to break an ext4 on purpose")
    ledger = []
    site = Site(disk)
    for number in (1, 2):
        await site.store(ledger.append, ct(1, number))
    await site.report(ledger.append)
    await site.associate(ledger.append, "FIRST")
    trigger.write_text("test")
    for work in (
        lambda: site.store(ledger.append, ct(1, 3)),
        lambda: site.report(ledger.append),
        lambda: site.associate(ledger.append, "SECOND"),
        lambda: site.store(ledger.append, ct(1, 4)),
    ):
        with pytest.raises(DrimboxError):
            await work()
    assert site.archive.suspect
    held = await site.archive.held(STUDY)
    assert [
        await site.archive.read(one, one.data_set_offset, one.size_bytes - one.data_set_offset) for one in held
    ] == [data_set_bytes(ct(1, number)) for number in (1, 2)]
    site.close()
    assert len(ledger) == 4
    mounts.unmount(disk)
    again = mounts.ext4(tmp_path / "disk.img")
    await asyncio.to_thread(check, again, ledger)
