"""A process sampled from outside by py-spy: which thread runs, in which function, who holds the interpreter lock."""

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from table import render

RATE = 500  # samples a second
MOST_ROWS = 14


@contextmanager
def sampling(pid: int, out: Path) -> Iterator[list[Path]]:
    """Sample process `pid` meanwhile: threads that run, then those that hold the lock, one file each."""
    tool = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if tool is None:
        raise SystemExit("py-spy is not installed: pip install -e '.[dev]'")
    files = [out.with_suffix(".running.txt"), out.with_suffix(".lock.txt")]
    options = ["--pid", str(pid), "--rate", str(RATE), "--threads", "--format", "raw", "--nonblocking"]
    processes = [
        subprocess.Popen(
            [tool, "record", *options, *more, "--output", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for file, more in zip(files, ([], ["--gil"]), strict=True)
    ]
    time.sleep(1)  # py-spy says nothing when it is ready
    try:
        yield files
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(30)


def report(files: list[Path], *, markdown: bool) -> str:
    """Two tables: by thread, and by the function on top of the stack."""
    running, lock = (_read(file) for file in files)
    total = sum(running.values()) or 1
    parts = []
    for head, key in (("thread", _thread), ("function", _function)):
        runs, holds = _by(running, key), _by(lock, key)
        rows = [
            [name, f"{100 * count / total:.0f} %", f"{100 * holds[name] / total:.0f} %"]
            for name, count in runs.most_common(MOST_ROWS)
        ]
        parts.append(render([head, "runs", "with the lock"], rows, markdown=markdown))
    return "\n\n".join(parts)


def _read(file: Path) -> Counter[str]:
    """Stacks, outermost frame first, and how often each was seen."""
    found: Counter[str] = Counter()
    for line in file.read_text().splitlines() if file.exists() else ():
        stack, _, count = line.rpartition(" ")
        found[stack] += int(count)
    return found


def _by(stacks: Counter[str], key: Callable[[list[str]], str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[key(stack.split(";"))] += count
    return found


def _thread(frames: list[str]) -> str:
    """Of `thread (14073): archive-files_0`, which py-spy puts first: threads of one pool together."""
    return frames[0].partition(": ")[2].partition("_")[0] or "of C alone"


def _function(frames: list[str]) -> str:
    """Of `append (floor.py:95)`, without the line."""
    return frames[-1].rpartition(":")[0] + ")" if ":" in frames[-1] else frames[-1]
