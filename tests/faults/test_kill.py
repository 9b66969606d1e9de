"""kill -9 at each durable call, around each commit, and at any time: what was acknowledged is there (P1, P2)."""

import asyncio
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from ledger import SENT, Site, check, compare, kept_records

from drimbox.storage.scrub import scrub

HERE = Path(__file__).parent


def killed(*arguments):
    paths = [str(HERE.parents[1]), str(HERE.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, str(HERE / "killed.py"), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def ledger_of(base):
    file = base / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def test_a_kill_at_any_call_loses_nothing_that_was_acknowledged(tmp_path):
    killed("each", tmp_path)
    whole = tmp_path / "whole"
    lives = sorted((path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert len(lives) > 60
    told = [ledger_of(base) for base in (*lives, whole)]
    # The later the kill, the more was said; but for one, whose rows are written while its sender is answered.
    assert all(len(before) - 1 <= len(after) for before, after in pairwise(told))
    assert (len(told[0]), len(told[-1])) == (0, len(SENT) + 3)
    for base, ledger in zip((*lives, whole), told, strict=True):
        check(base, ledger)


def test_many_kills_at_any_time_under_eight_senders_lose_nothing(tmp_path):
    killed("random", tmp_path, 20261123)
    ledger = ledger_of(tmp_path)
    assert len(set(ledger)) == len(ledger) > 100

    async def look():
        site = Site(tmp_path)
        try:
            await compare(site, ledger)
            assert site.recovered.damaged == []
            [[rows]] = await site.archive.database.read("SELECT count(*) FROM instance")
            assert rows == len(list(kept_records(tmp_path / "own"))) >= len(ledger)
        finally:
            site.close()

    asyncio.run(look())
    assert list(scrub(tmp_path / "own", 0, lambda size: None)) == []
