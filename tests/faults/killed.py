"""A process that is killed, again and again: `python killed.py each FOLDER`, `random FOLDER SEED`; see test_kill.py.

Or one that just works until its disk is taken away: `live FOLDER LEDGER`; see test_power_loss.py.

It forks before it has threads, so that a kill costs milliseconds. What the child was answered goes to a file of the
parent's, the client's ledger, before the child goes on.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from faulty import Seam, die_at, first_of_each_kind, through
from ledger import Site, arrive
from making import ct

from drimbox.errors import DrimboxError


def in_child(work) -> bool:
    """Run `work` in a child; was it killed?"""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return _ended(child)


def _ended(child: int) -> bool:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the child ended with {status}")
    return status != 0


def teller(path: Path):
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    return lambda line: os.write(file, f"{line}\n".encode())


def kill_at_each_call(folder: Path) -> None:
    """A folder for each call that was killed before, named by its number; and `whole`, of a life that was not."""

    def live(base: Path, at: int) -> None:
        with through(Seam(die_at(at)), commits=True) as seam:
            asyncio.run(arrive(base, teller(base / "ledger")))
        (folder / "calls").write_text("\n".join(name for name, _ in seam.calls))

    (folder / "whole").mkdir()
    assert not in_child(lambda: live(folder / "whole", -1))
    for at in first_of_each_kind((folder / "calls").read_text().splitlines()):
        base = folder / str(at)
        base.mkdir()
        assert in_child(lambda base=base, at=at: live(base, at))


async def arrive_at_once(base: Path, ledger: Path, first: int = 0) -> None:
    """Eight senders side by side, as long as they live."""
    site = Site(base)
    tell = teller(ledger)

    async def sender(number: int) -> None:
        for turn in range(1000):
            made = ct(number, first + turn, PixelData=bytes([number]) * 40_000)
            try:
                await site.store(tell, made)
            except DrimboxError:
                return

    await asyncio.gather(*(sender(number) for number in range(8)))


def kill_at_random(folder: Path, rounds: int, seed: int) -> None:
    """One folder, `rounds` lives, each ended after some milliseconds of work."""
    chance = random.Random(seed)
    ledger = folder / "ledger"
    ledger.touch()
    for turn in range(rounds):
        before = ledger.stat().st_size
        child = os.fork()
        if child == 0:
            asyncio.run(arrive_at_once(folder, ledger, turn * 1000))
            os._exit(0)
        while ledger.stat().st_size == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        if not _ended(child):
            sys.exit("the child ended by itself")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["each", folder]:
            kill_at_each_call(Path(folder))
        case ["random", folder, seed]:
            kill_at_random(Path(folder), rounds=12, seed=int(seed))
        case ["live", folder, ledger]:
            asyncio.run(arrive_at_once(Path(folder), Path(ledger)))
