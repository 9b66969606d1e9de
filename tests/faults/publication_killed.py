"""A node that is killed at each durable call, and at each word with the DMP, while it publishes; see
test_publication_kill.py. `python publication_killed.py FOLDER CERTIFICATES PORT STORY`.

As in killed.py: it forks before it has threads, so that a kill costs milliseconds. Each life has a folder, a study and
patients of its own, and leaves `calls` (what it did when nobody killed it), `told` and `jobs`.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from faulty import Seam, first_of_each_kind, through
from killed import in_child
from publication_stage import RIS, Stage, patient, report, settings_for, staged

from drimbox.egress import Egress
from drimbox.model import Report
from drimbox.sandbox.certificates import make_certificates

STORIES = ("publish", "image", "correct", "mask", "other patient", "cancel")


@dataclass
class Killer:
    """Ends the process before call number `at` of those that are made once it is armed."""

    at: int
    armed: bool = False
    names: list[str] = field(default_factory=list)

    def __call__(self, number: int, name: str) -> None:
        if self.armed:
            if len(self.names) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.names.append(name)


@contextlib.contextmanager
def words_counted(seam: Seam):
    """The instants before a message leaves for the DMP, and after its answer came, count too."""
    post = Egress.post

    async def counted(self, url, **options):
        seam.call("send", url, lambda: None)
        answer = await post(self, url, **options)
        seam.call("answered", url, lambda: None)
        return answer

    Egress.post = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Egress.post = post  # type: ignore[method-assign]


def messages(study_uid: str, person: int) -> dict[str, Report]:
    """Story -> the report that makes it."""
    first = report(person, (study_uid,), patient(person))
    later = replace(first, message_id=f"{first.message_id}b", message=b"MSH later", status="C")
    return {
        "publish": first,
        "correct": replace(later, exams=(replace(first.exams[0], acts=()),)),
        "mask": replace(later, confidentiality=("MASQUE_PS",), visibility_only=True),
        "other patient": replace(later, patient=patient(person, person + 1)),
        "cancel": replace(later, status="D"),
    }


class Life:
    """One node that lives through a story, as far as it comes. person: makes the numbers of its patients."""

    def __init__(self, base: Path, settings, story: str, person: int) -> None:
        self.base = base
        self.settings = settings
        self.story = story
        self.study_uid = f"1.2.3.{person}"
        self.patient = patient(person)
        self.messages = messages(self.study_uid, person)

    def lived(self, at: int) -> None:
        """What came before the story, then the story, ended before its call `at`."""
        killer = Killer(at)
        seam = Seam(killer)
        with through(seam, commits=True), words_counted(seam):
            asyncio.run(self._live(killer))
        (self.base / "calls").write_text("\n".join(killer.names))

    def calls(self) -> list[str]:
        """What it did when nobody killed it."""
        return (self.base / "calls").read_text().splitlines()

    async def _live(self, killer: Killer) -> None:
        async with staged(self.base, self.settings) as stage:
            await stage.image(self.study_uid, 1, 1, self.patient)
            if self.story != "publish":
                await stage.publish.report_arrived(self.messages["publish"], RIS)
                await stage.work(1)
            if self.story == "image":
                await stage.image(self.study_uid, 1, 2, self.patient)
            killer.armed = True
            await self._arrive(stage)
            await stage.work(1)
            killer.armed = False

    async def _arrive(self, stage: Stage) -> None:
        if self.story != "image":
            await stage.publish.report_arrived(self.messages[self.story], RIS)
        (self.base / "told").touch()

    def lived_again(self) -> None:
        """The node starts once more; its RIS repeats what nobody answered."""
        asyncio.run(self._live_again())

    async def _live_again(self) -> None:
        async with staged(self.base, self.settings) as stage:
            await stage.outbox.release_leases()
            if not (self.base / "told").exists():
                await self._arrive(stage)
            async with asyncio.timeout(120):
                await stage.work()
                while any(job["state"] in ("due", "leased", "frozen") for job in await stage.outbox.list()):
                    await asyncio.sleep(0.002)
                    await stage.work()
            (self.base / "jobs").write_text(json.dumps(await stage.outbox.list()))


def kill_at_each(folder: Path, settings, story: str) -> None:
    """Folders named by the call before which they were killed; `-1` is of a life that was not."""
    person = 10_000 * (1 + STORIES.index(story))

    def life(at: int) -> Life:
        base = folder / str(at)
        base.mkdir()
        return Life(base, settings, story, person + 10 * (at + 1))

    whole = life(-1)
    assert not in_child(lambda: whole.lived(-1))
    assert not in_child(whole.lived_again)
    for at in first_of_each_kind(whole.calls()):
        one = life(at)
        # Its last calls may not come: how many pages of SQLite a message takes is up to its random identifiers.
        assert in_child(lambda one=one, at=at: one.lived(at)) or len(one.calls()) <= at, at
        assert not in_child(one.lived_again), at


if __name__ == "__main__":
    folder, certificates, port, story = sys.argv[1:]
    made = make_certificates(Path(certificates))
    kill_at_each(Path(folder), settings_for(made, int(port), retry_first_s=0.001), story)
