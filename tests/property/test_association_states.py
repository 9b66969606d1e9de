"""Every PDU and every fragment in every state of an association, against a model of PS3.8 table 9-10 and PS3.7 §8.

A story is a list of events; the model says what each is answered with. The story is sent to a real door, cut into
segments anywhere, and what comes back must be what the model said, byte order and all.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "doors"))
from dicom_scp_stage import MemoryIngest, Stage, open_door
from raw_scu import CT, EXPLICIT, IMPLICIT, RawScu, build_request

from drimbox.dicom.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    RESPONSE,
    VERIFICATION,
    Command,
    build_command,
    read_command,
)
from drimbox.dicom.pdu import (
    HEADER,
    PDV_HEADER,
    AbortSource,
    AnsweredContext,
    AssociateAccept,
    Pdu,
    Rejection,
    build_abort,
    build_associate_accept,
    build_associate_reject,
    build_data,
    build_release_request,
    build_release_response,
)
from drimbox.dicom.user_information import UserInformation

STORING, ECHOING, UNKNOWN_CONTEXT = 1, 3, 99  # presentation contexts
REQUEST = build_request([(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])])
LONGEST = 131072 + 2048


def command(context_id: int, made: Command) -> bytes:
    return b"".join(build_data(context_id, build_command(made), True, 0))


def fragment(context_id: int, control: int, content: bytes) -> bytes:
    body = PDV_HEADER.pack(len(content) + 2, context_id, control) + content
    return HEADER.pack(Pdu.DATA, len(body)) + body


ECHO = build_command(Command(C_ECHO_RQ, 9, VERIFICATION))
ACCEPT = AssociateAccept("A", "B", (AnsweredContext(1, 0, EXPLICIT),), UserInformation(0, "1.2"))

# What the other side may say at any time, by name. `store` and the pieces of data are made in the story.
SAID: dict[str, bytes] = {
    "request": REQUEST,
    "request without user information": HEADER.pack(1, 68) + REQUEST[6:74],
    "accept": build_associate_accept(ACCEPT),
    "reject": build_associate_reject(Rejection(1, 1, 1)),
    "release": build_release_request(),
    "release response": build_release_response(),
    "abort": build_abort(AbortSource.SERVICE_USER),
    "PDU of no type": HEADER.pack(9, 4) + bytes(4),
    "PDU of type 0": HEADER.pack(0, 4) + bytes(4),
    "P-DATA of nothing": HEADER.pack(Pdu.DATA, 0),
    "fragment of nothing": HEADER.pack(Pdu.DATA, 6) + PDV_HEADER.pack(0, STORING, 0),
    "fragment longer than its PDU": HEADER.pack(Pdu.DATA, 8) + PDV_HEADER.pack(99, STORING, 0) + bytes(2),
    "P-DATA of 2 GiB": HEADER.pack(Pdu.DATA, 2**31 - 1),
    "P-DATA longer than we announced": HEADER.pack(Pdu.DATA, LONGEST),
    "release of 1 MiB": HEADER.pack(Pdu.RELEASE_RQ, 2**20),
    "echo": command(ECHOING, Command(C_ECHO_RQ, 9, VERIFICATION)),
    "start of an echo": fragment(ECHOING, 1, ECHO[:21]),
    "end of an echo": fragment(ECHOING, 3, ECHO[21:]),
    "echo in the storing context": command(STORING, Command(C_ECHO_RQ, 9, VERIFICATION)),
    "store without data set": command(STORING, Command(C_STORE_RQ, 1, CT, "1.2", has_data_set=False, priority=0)),
    "cancel of nothing": command(ECHOING, Command(C_CANCEL_RQ, 7)),
    "operation of no kind": command(ECHOING, Command(0x0150, 5, VERIFICATION)),
    "response to nothing": command(STORING, Command(C_STORE_RQ | RESPONSE, 1, CT, "1.2", status=0)),
    "command of noise": fragment(ECHOING, 3, b"\xff" * 30),
    "command in no context": command(UNKNOWN_CONTEXT, Command(C_ECHO_RQ, 9, VERIFICATION)),
    "data in no context": fragment(UNKNOWN_CONTEXT, 2, b"x"),
    "data in the echoing context": fragment(ECHOING, 2, b"x"),
    "empty fragment of data": fragment(STORING, 0, b""),
}
MADE = ("store", "data", "last of the data")

Answer = tuple[object, ...]
UNEXPECTED: Answer = ("abort", 2, 2)
INVALID: Answer = ("abort", 2, 6)
WRONG: Answer = ("abort", 0, 0)  # the message exchange is broken, not the Upper Layer: its user aborts
UNFIT = ("P-DATA of nothing", "P-DATA of 2 GiB", "P-DATA longer than we announced", "release of 1 MiB")


@dataclass
class Model:
    """state: awaiting (Sta2), associated (Sta6), command, data (within a message), over (Sta13)."""

    state: str = "awaiting"
    answers: list[Answer] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    stream: bytes = b""
    stores: int = 0
    data: bytes = b""

    def hear(self, name: str, prefix: str) -> None:
        """What `name` is answered with. prefix: of the UIDs of this story."""
        uid = f"{prefix}.{self.stores}"
        match name:
            case "store":
                said = command(STORING, Command(C_STORE_RQ, 1, CT, f"{prefix}.{self.stores + 1}", True, priority=0))
            case "data" | "last of the data":
                piece = name.encode() * (1 + len(self.stream) % 7)
                said = fragment(STORING, 0 if name == "data" else 2, piece)
            case _:
                said = SAID[name]
        self.stream += said
        if self.state == "over":
            return
        if name == "abort":
            self.state = "over"
        elif name.startswith("PDU of"):
            self._end(("abort", 2, 1))
        elif self.state == "awaiting":
            self._await_request(name)
        elif name in ("request", "request without user information", "accept", "reject", "release response"):
            self._end(UNEXPECTED)
        elif name in UNFIT or name.startswith("fragment") or name.endswith("in no context"):
            self._end(INVALID)
        elif name == "release":
            self._end(("release",))
        elif self.state == "associated":
            self._begin(name)
        elif self.state == "command":
            if name == "end of an echo":
                self._answer(0x0000)
            else:
                self._end(WRONG)
        elif name in ("data", "empty fragment of data"):
            self.data += piece if name == "data" else b""
        elif name == "last of the data":
            self.kept[uid] = self.data + piece
            self._answer(0x0000)
        else:
            self._end(WRONG)

    def _await_request(self, name: str) -> None:
        if name == "request":
            self.answers.append(("accept",))
            self.state = "associated"
        elif name == "request without user information":
            self._end(INVALID)
        else:
            self._end(UNEXPECTED)

    def _begin(self, name: str) -> None:
        match name:
            case "echo":
                self._answer(0x0000)
            case "echo in the storing context":
                self._answer(0x0211)
            case "store without data set":
                self._answer(0xC000)
            case "operation of no kind":
                self._answer(0x0211)
            case "cancel of nothing":
                pass
            case "start of an echo":
                self.state = "command"
            case "store":
                self.state, self.data = "data", b""
                self.stores += 1
            case _:
                self._end(WRONG)

    def _answer(self, status: int) -> None:
        self.answers.append(("response", status))
        self.state = "associated"

    def _end(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.state = "over"


@pytest.fixture(scope="module")
def ingest() -> MemoryIngest:
    return MemoryIngest()


@pytest.fixture(scope="module")
def stage(ingest: MemoryIngest) -> Iterator[Stage]:
    with open_door(ingest) as stage:
        yield stage


INTO: dict[str, tuple[str, ...]] = {
    "awaiting": (),
    "associated": ("request",),
    "between messages": ("request", "echo", "store", "last of the data"),
    "in a command": ("request", "start of an echo"),
    "before the data": ("request", "store"),
    "in the data": ("request", "store", "data"),
    "released": ("request", "release"),
    "aborted": ("request", "accept"),
}


CASES = [(state, event) for state in INTO for event in (*SAID, *MADE)]
CASES.remove(("in a command", "start of an echo"))  # that is a longer command, which its end decides on


@pytest.mark.parametrize(("state", "event"), CASES)
def test_every_event_in_every_state(stage: Stage, ingest: MemoryIngest, state: str, event: str) -> None:
    play(stage, ingest, [*INTO[state], event], [])


@pytest.mark.parametrize("event", [*SAID, *MADE])
def test_every_event_while_an_instance_is_being_kept(event: str) -> None:
    """It is looked at once the instance was answered; even one that ends the association takes nothing back."""
    gate = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(gate.wait, 10)

    ingest = MemoryIngest(wait=wait)
    with open_door(ingest) as stage:
        play(stage, ingest, ["request", "store", "last of the data", event], [], gate)


names = st.sampled_from([*SAID, *MADE])
likely = st.sampled_from(["echo", "store", "data", "last of the data", "start of an echo", "end of an echo", "data"])


@st.composite
def stories(draw: st.DrawFn) -> list[str]:
    """Mostly what keeps the association going, so that its depths are reached."""
    model, story = Model(), list[str]()
    if draw(st.integers(0, 9)):
        story.append("request")
        model.hear("request", "1")
    for _ in range(draw(st.integers(0, 25))):
        name = draw(likely if draw(st.integers(0, 7)) else names)
        if (model.state, name) == ("command", "start of an echo"):
            name = "end of an echo"
        story.append(name)
        model.hear(name, "1")
    return story


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stories(), st.lists(st.integers(1, 400), max_size=30))
def test_any_story_however_it_is_cut(stage: Stage, ingest: MemoryIngest, story: list[str], cuts: list[int]) -> None:
    play(stage, ingest, story, cuts)


told = 0


def play(
    stage: Stage, ingest: MemoryIngest, story: list[str], cuts: list[int], gate: threading.Event | None = None
) -> None:
    """Send the story in segments of these lengths, end the stream, and hold what came back against the model.

    gate: opened once all was sent.
    """
    global told
    told += 1
    model, prefix = Model(), f"1.2.{told}"
    for name in story:
        model.hear(name, prefix)
    already = set(ingest.kept)
    with RawScu(stage.place) as scu:
        rest, first = model.stream, list[Answer]()
        if story[:1] == ["request"]:  # what comes before our answer to it (Sta3) is tested beside the door
            scu.send(REQUEST)
            rest, first = rest[len(REQUEST) :], heard(scu, 1)
        for cut in [*cuts, len(rest)]:
            if not rest:
                break
            try:
                scu.send(rest[:cut])
            except (ConnectionResetError, BrokenPipeError):  # the door has ended it; what it answered is still read
                break
            rest = rest[cut:]
        if gate is not None:
            gate.set()
        with contextlib.suppress(OSError):  # ended already
            scu.socket.shutdown(1)
        assert first + heard(scu) == model.answers, story
    with RawScu(stage.place) as scu:  # and the door still serves
        scu.associate()
        while stage.door.counts["connections"] > 1:
            assert scu.echo().status == 0
        scu.release()
    kept = {uid: data for uid, data in ingest.kept.items() if uid not in already}
    assert kept == model.kept
    spools = [spool for spool in ingest.spools if spool.announced[1].startswith(prefix + ".")]
    assert len(spools) == model.stores
    assert all(spool.is_discarded or spool.announced[1] in kept for spool in spools)


def heard(scu: RawScu, most: int = 1000) -> list[Answer]:
    """Everything up to the end of the stream, or that many."""
    found: list[Answer] = []
    while len(found) < most and (answer := scu.receive()) is not None:
        kind, body = answer
        match kind:
            case Pdu.ASSOCIATE_AC:
                found.append(("accept",))
            case Pdu.DATA:
                found.append(("response", read_command(body[PDV_HEADER.size :]).status))
            case Pdu.RELEASE_RP:
                found.append(("release",))
            case Pdu.ABORT:
                found.append(("abort", body[2], body[3]))
            case _:
                found.append((kind,))
    return found
