"""What a process and its children hold, from the kernel."""

import os
import re
import resource
from pathlib import Path

import pytest


def family(pid: int) -> list[int]:
    """`pid`, and the processes it started."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _field(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found, name
    return int(found[1])


def threads(pid: int) -> int:
    """Of the family."""
    return sum(_field(one, "Threads") for one in family(pid))


def resident_mib(pid: int) -> float:
    """Of the family, now."""
    return sum(_field(one, "VmRSS") for one in family(pid)) / 1024


def peak_mib(pid: int) -> float:
    """Resident memory of this one process at its worst."""
    return _field(pid, "VmHWM") / 1024


def sockets(pid: int) -> int:
    """Open sockets of the family."""
    links = (link for one in family(pid) for link in Path(f"/proc/{one}/fd").iterdir())
    return sum(_target(link).startswith("socket:") for link in links)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed meanwhile
        return ""


def want_descriptors(number: int) -> None:
    """So many for this process; skips where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"needs {number} file descriptors, the limit here is {hard}")
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
