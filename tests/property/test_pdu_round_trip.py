"""Whatever the values, they come back; whatever the bytes, the answer is values or Malformed."""

import contextlib
import string

from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.command import Command, SubOperations, build_command, read_command
from drimbox.dicom.pdu import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    Pdu,
    ProposedContext,
    build_associate_accept,
    build_associate_request,
    build_data,
    read_associate_accept,
    read_associate_request,
)
from drimbox.dicom.user_information import Role, UserIdentity, UserInformation
from drimbox.dicom_scp.framing import Breach, Framing, State
from drimbox.errors import Malformed

uids = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}", fullmatch=True)
titles = st.text(string.ascii_letters + string.digits + "-_ ", max_size=16).map(str.strip)
ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
users = st.builds(
    UserInformation,
    st.integers(7, 2**32 - 1) | st.just(0),
    uids,
    titles,
    st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    st.lists(st.builds(Role, uids, st.booleans(), st.booleans()), max_size=3).map(tuple),
    st.just(()),
    st.none() | st.builds(UserIdentity, st.integers(0, 255), st.booleans(), st.binary(), st.binary()),
    st.none() | st.binary(),
)
proposed = st.lists(
    st.builds(ProposedContext, ids, uids, st.lists(uids, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=8,
    unique_by=lambda context: context.id,
).map(tuple)
answered = st.lists(st.builds(AnsweredContext, ids, st.integers(0, 4), uids), max_size=8).map(tuple)
reserved = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 65535)
commands = st.builds(
    Command,
    numbers,
    numbers,
    st.just("") | uids,
    st.just("") | uids,
    st.booleans(),
    st.none() | numbers,
    st.none() | numbers,
    titles,
    titles,
    st.none() | st.builds(SubOperations, st.none() | numbers, numbers, numbers, numbers),
)


@given(st.builds(AssociateRequest, titles, titles, proposed, users, uids, numbers, reserved))
def test_requests_come_back(request: AssociateRequest) -> None:
    assert read_associate_request(build_associate_request(request)[6:]) == request


@given(st.builds(AssociateAccept, titles, titles, answered, users, uids, numbers, reserved))
def test_accepts_come_back(accept: AssociateAccept) -> None:
    assert read_associate_accept(build_associate_accept(accept)[6:]) == accept


@given(commands)
def test_commands_come_back(command: Command) -> None:
    assert read_command(build_command(command)) == command


@given(st.builds(AssociateRequest, titles, titles, proposed, users), st.data())
def test_a_damaged_request_is_read_or_malformed(request: AssociateRequest, data: st.DataObject) -> None:
    body = bytearray(build_associate_request(request)[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        read_associate_request(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=300))
def test_noise_is_malformed(noise: bytes) -> None:
    for read in (read_associate_request, read_associate_accept, read_command):
        with contextlib.suppress(Malformed):
            read(noise)


class Heard:
    """A sink that puts pieces together again; stops the reader when told to."""

    def __init__(self, stops: list[bool]) -> None:
        self.events: list[tuple[object, ...]] = []
        self._piece = b""
        self._stops = stops

    def pdu(self, kind: Pdu, body: bytes) -> bool:
        self.events.append((kind, body))
        return not (self._stops and self._stops.pop())

    def fragment(self, context_id: int, control: int, piece: memoryview, is_whole: bool) -> bool:
        self._piece += piece
        if is_whole:
            self.events.append((context_id, control, self._piece))
            self._piece = b""
        return not (self._stops and self._stops.pop())


@given(
    st.lists(st.tuples(ids, st.binary(max_size=40), st.booleans()), max_size=5),
    st.integers(7, 30),
    st.lists(st.integers(1, 9), max_size=60),
    st.lists(st.booleans(), max_size=20),
)
def test_framing_hears_the_same_however_the_stream_is_cut(
    messages: list[tuple[int, bytes, bool]], maximum: int, cuts: list[int], stops: list[bool]
) -> None:
    stream = b"".join(b"".join(build_data(*message, maximum)) for message in messages) + b"\5\0\0\0\0\4\0\0\0\0"
    known = Heard([])
    framing = Framing(4096)
    framing.state = State.ASSOCIATED
    assert framing.feed(memoryview(stream), known) == len(stream)

    heard, framing, start = Heard(stops), Framing(4096), 0
    framing.state = State.ASSOCIATED
    while start < len(stream):
        length = cuts.pop() if cuts else 1000
        start += framing.feed(memoryview(stream)[start : start + length], heard)

    assert heard.events == known.events
    assert b"".join(event[2] for event in known.events if len(event) == 3) == b"".join(m[1] for m in messages)


@given(st.binary(max_size=64), st.sampled_from(State))
def test_framing_breaks_on_noise_and_on_nothing_else(noise: bytes, state: State) -> None:
    framing = Framing(4096)
    framing.state = state
    with contextlib.suppress(Breach):
        framing.feed(memoryview(noise), Heard([]))
