"""A disk image copied from under a working archive, and mounted elsewhere: what a power cut leaves (promise P1)."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ledger import Site, compare

from drimbox.storage.scrub import scrub

HERE = Path(__file__).parent
CUTS = 6


def test_what_was_acknowledged_is_on_the_copied_disk(tmp_path, mounts):
    image = tmp_path / "disk.img"
    # The journal is committed when someone syncs, not every five seconds: what we forget to sync is not there.
    disk = mounts.ext4(image, "commit=600")
    said = tmp_path / "ledger"
    said.touch()
    cuts = list(cut_at_random(disk, image, said, tmp_path))
    mounts.unmount(disk)
    assert [len(ledger) for _, ledger in cuts] == sorted({len(ledger) for _, ledger in cuts})
    for copy, ledger in cuts:
        found = mounts.ext4(copy)
        asyncio.run(look(found, ledger))
        assert list(scrub(found / "own", 0, lambda size: None)) == []
        mounts.unmount(found)


def cut_at_random(disk, image, said, folder):
    """(copy of the image, what the senders had been told until then), some times while eight of them are at work.

    The archive's process is stopped for the copy: all of it is of one instant.
    """
    chance = random.Random(1)
    paths = [str(HERE.parents[1]), str(HERE.parent)]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "killed.py"), "live", str(disk), str(said)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        for number in range(CUTS):
            before = said.stat().st_size
            while said.stat().st_size < before + 2000:
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            ledger = said.read_text().splitlines()
            copy = folder / f"cut{number}.img"
            subprocess.run(["cp", "--sparse=always", image, copy], check=True)
            process.send_signal(signal.SIGCONT)
            yield copy, ledger
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


async def look(base, ledger):
    assert ledger
    site = Site(base)
    try:
        await compare(site, ledger)
        assert site.recovered.damaged == []
    finally:
        site.close()
