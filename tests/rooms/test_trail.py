"""The trail: durable before the access, chained so that edits show."""

import asyncio
from datetime import UTC, datetime

import orjson
import pytest

from drimbox.audit.trail import Trail, verify_trail
from drimbox.errors import Corrupt
from drimbox.model import Trace

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def trace(number: int) -> Trace:
    return Trace(AT, "retrieve", "success", "loopback", "http", "127.0.0.1", f"1.2.{number}")


async def filled(path, count=5):
    trail = Trail(path)
    await asyncio.gather(*(trail.write(trace(number)) for number in range(count)))
    trail.close()


async def test_what_was_written_is_a_chain_that_verifies(tmp_path):
    path = tmp_path / "trail.jsonl"
    await filled(path)
    await filled(path)  # a restart goes on with the same chain
    assert verify_trail(path) == 10
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["n"] for line in lines] == list(range(1, 11))
    assert lines[0]["at"] == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"loopback", b"somebody"), *lines[3:]], 3),
        (lambda lines: [*lines[:1], *lines[2:]], 2),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [*lines[:4], lines[4][:-1]], 5),
        (lambda lines: [b"garbage\n", *lines], 1),
    ],
)
async def test_an_edit_is_pointed_at(tmp_path, change, line):
    path = tmp_path / "trail.jsonl"
    await filled(path)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(Corrupt, match=f"line {line} "):
        verify_trail(path)


async def test_a_line_torn_by_a_crash_is_cut_and_the_chain_goes_on(tmp_path):
    path = tmp_path / "trail.jsonl"
    await filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,"at":"20')
    await filled(path, 1)
    assert verify_trail(path) == 3


async def test_a_damaged_last_line_stops_the_node(tmp_path):
    path = tmp_path / "trail.jsonl"
    await filled(path, 2)
    path.write_bytes(path.read_bytes() + b"not a trace\n")
    with pytest.raises(Corrupt, match="verify-trail"):
        Trail(path)
