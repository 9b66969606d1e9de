"""Admitting: one durable trace covers the accesses of a minute to the same images, and nothing else."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from drimbox import clock
from drimbox.audit.trail import Trail
from drimbox.errors import Unavailable, Unidentified
from drimbox.flows.admit import COVERED_S, Admit
from drimbox.model import Credentials, Trace
from drimbox.settings import Settings

HERE = Credentials("http", "127.0.0.1")


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    with closing(Trail(tmp_path / "trail.jsonl")) as opened:
        yield opened


def count(trail: Trail) -> int:
    return trail.path.read_bytes().count(b"\n")


async def test_one_trace_covers_a_minute_of_the_same_images(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "ticks", lambda: now)
    admit = Admit(Settings(), trail)
    for _ in range(3):
        assert (await admit.images(HERE, "1.2", "frames 1.2.3")).identity == "loopback"
    assert count(trail) == 1
    now += COVERED_S
    await admit.images(HERE, "1.2", "frames 1.2.3")
    assert count(trail) == 2


@pytest.mark.parametrize(
    ("credentials", "study", "detail"),
    [
        (Credentials("http", "127.0.0.2"), "1.2", "frames 1.2.3"),
        (Credentials("http", "127.0.0.1", manifest_uid="1.9"), "1.2", "frames 1.2.3"),
        (HERE, "1.3", "frames 1.2.3"),
        (HERE, "1.2", "frames 1.2.4"),
        (HERE, "1.2", "metadata 1.2.3"),
    ],
)
async def test_another_reader_study_series_or_form_has_its_own_trace(
    trail: Trail, credentials: Credentials, study: str, detail: str
) -> None:
    admit = Admit(Settings(), trail)
    await admit.images(HERE, "1.2", "frames 1.2.3")
    await admit.images(credentials, study, detail)
    assert count(trail) == 2


async def test_a_trace_that_was_not_written_covers_nothing(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(trace: Trace) -> None:
        raise Unavailable("trail", "cannot be written")

    admit = Admit(Settings(), trail)
    with monkeypatch.context() as broken, pytest.raises(Unavailable):
        broken.setattr(trail, "write", fail)
        await admit.images(HERE, "1.2", "frames")
    assert count(trail) == 0
    await admit.images(HERE, "1.2", "frames")
    assert count(trail) == 1


async def test_every_refusal_is_traced(trail: Trail) -> None:
    admit = Admit(Settings(), trail)
    for _ in range(2):
        with pytest.raises(Unidentified):
            await admit.images(Credentials("http", "192.0.2.1"), "1.2", "frames")
    assert trail.path.read_bytes().count(b'"refused"') == 2


async def test_what_began_is_traced_when_its_trace_is_done(trail: Trail) -> None:
    traced = await Admit(Settings(), trail).begin(HERE, "search", "1.2", "study: 0020000D")
    await traced
    assert count(trail) == 1
    with pytest.raises(Unidentified):
        await Admit(Settings(), trail).begin(Credentials("http", "192.0.2.1"), "search", "", "study: ")
    assert trail.path.read_bytes().count(b'"refused"') == 1
