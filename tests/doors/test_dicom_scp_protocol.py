"""The Upper Layer and the message exchange, with every byte chosen: what is served, what is refused, how it ends."""

import os
import sys
import threading
from pathlib import Path

import pytest

from drimbox.dicom.command import C_ECHO_RQ, C_STORE_RQ, RESPONSE, VERIFICATION, Command, build_command
from drimbox.dicom.pdu import AbortSource, Pdu, build_abort, build_data, build_release_request
from drimbox.dicom.user_information import Role, UserInformation
from drimbox.errors import NoSpace

sys.path.append(str(Path(__file__).parent))
from dicom_scp_stage import MemoryIngest, Stage, open_door
from raw_scu import CT, EXPLICIT, IMPLICIT, RawScu, build_request, build_store

PRIVATE = "1.2.826.0.1.3680043.10.9999.7"
JPEG2000 = "1.2.840.10008.1.2.4.90"
STORE = build_store(1, CT, "1.2.3", b"data set")
STORE_COMMAND = b"".join(build_data(1, build_command(Command(C_STORE_RQ, 1, CT, "1.2.3", True)), True, 0))


@pytest.fixture(scope="module")
def ingest() -> MemoryIngest:
    return MemoryIngest()


@pytest.fixture(scope="module")
def stage(ingest: MemoryIngest):
    with open_door(ingest) as stage:
        yield stage


# --- Negotiation ----------------------------------------------------------------------------------------------------


def test_each_context_gets_its_own_answer(stage: Stage) -> None:
    with RawScu(stage.place) as scu:
        accept = scu.associate(
            [
                (VERIFICATION, [IMPLICIT]),
                (CT, ["1.2.3.4.5", JPEG2000, EXPLICIT]),
                (PRIVATE, [IMPLICIT]),
                ("1.2.840.10008.5.1.4.31", [IMPLICIT]),  # worklist C-FIND
                (CT, ["1.2.3.4.5"]),
                ("../../etc", [IMPLICIT]),
                ("1.2.840.10008.5.1.4.1.2.2.1", [JPEG2000, EXPLICIT]),  # study root C-FIND
                ("1.2.840.10008.5.1.4.1.2.2.1", [JPEG2000]),
            ]
        )
        scu.release()
    assert [c.result for c in accept.contexts] == [0, 0, 0, 3, 4, 3, 0, 4]
    assert [c.id for c in accept.contexts] == list(range(1, 17, 2))
    accepted = [c.transfer_syntax for c in accept.contexts if c.result == 0]
    assert accepted == [IMPLICIT, JPEG2000, IMPLICIT, EXPLICIT]


def test_roles_and_window_are_answered_only_when_asked(stage: Stage) -> None:
    roles = (Role(CT, True, True), Role("1.2.840.10008.5.1.4.1.1.4", True, False))
    with RawScu(stage.place) as scu:
        asked = scu.associate(user=UserInformation(0, "1.2", window=(65535, 65535), roles=roles)).user
        scu.release()
    with RawScu(stage.place) as scu:
        silent = scu.associate().user
        scu.release()
    assert (asked.window, asked.roles) == ((1, 1), (Role(CT, True, False),))
    assert (silent.window, silent.roles) == (None, ())
    assert silent.maximum_length == 131072


def test_who_takes_instances_is_given_explicit_vr_where_it_offers_both(stage: Stage) -> None:
    """What we hold is mostly in explicit VR, and goes as it is kept; a sender's own order is left alone."""
    mr = "1.2.840.10008.5.1.4.1.1.4"
    both = [IMPLICIT, EXPLICIT]
    proposed = [
        (CT, both),
        (mr, both),
        (CT, [JPEG2000, *both]),
        (CT, [IMPLICIT]),
        ("1.2.840.10008.5.1.4.1.2.2.3", both),
    ]
    with RawScu(stage.place) as scu:
        accept = scu.associate(proposed, user=UserInformation(0, "1.2", roles=(Role(CT, False, True),)))
        scu.release()
    assert [c.transfer_syntax for c in accept.contexts] == [EXPLICIT, IMPLICIT, JPEG2000, IMPLICIT, IMPLICIT]


def test_user_identity_and_extended_negotiation_are_not_answered(stage: Stage) -> None:
    identity = b"\x58\0\xff\xf6\2\1\xff\xf0" + b"x" * 0xFFF0 + b"\0\0"
    extended = b"\x56\0\0\x08\0\0041.2.\1\1"
    request = bytearray(build_request([(CT, [EXPLICIT])]))
    start = request.index(b"\x50\0")
    request[start + 2 : start + 4] = (0xFFFF).to_bytes(2, "big")
    sub_items = bytes(request[start + 4 :]) + extended
    filler = 0xFFFF - len(sub_items) - 4
    sub_items += b"\x58\0" + filler.to_bytes(2, "big") + identity[4 : 4 + filler]
    request[start + 4 :] = sub_items
    request[2:6] = (len(request) - 6).to_bytes(4, "big")
    with RawScu(stage.place) as scu:
        scu.send(bytes(request))
        answer = scu.receive()
        assert answer is not None and answer[0] is Pdu.ASSOCIATE_AC
        assert b"\x59\0" not in answer[1] and b"\x56\0" not in answer[1]


def test_a_full_house_of_contexts_is_answered(stage: Stage) -> None:
    syntaxes = [f"1.2.840.10008.1.2.4.{number}" for number in range(50, 100)]
    with RawScu(stage.place) as scu:
        accept = scu.associate([(f"{CT}.{number}", syntaxes) for number in range(128)])
        scu.release()
    assert [c.result for c in accept.contexts] == [0] * 128


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"\0\1\0\0DRIMBOX", b"\0\2\0\0DRIMBOX", (1, 2, 2)),
        (b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2", (1, 1, 2)),
        (b"SCANNER ", b"STRANGER", (1, 1, 3)),
        (b"DRIMBOX ", b"SOMEBODY", (1, 1, 7)),
    ],
)
def test_a_request_we_cannot_serve_is_rejected(
    stage: Stage, before: bytes, after: bytes, reason: tuple[int, int, int]
) -> None:
    with RawScu(stage.place) as scu:
        scu.send(build_request([(CT, [EXPLICIT])]).replace(before, after))
        assert scu.receive() == (Pdu.ASSOCIATE_RJ, bytes((0, *reason)))


def test_the_credentials_are_what_was_seen(stage: Stage, ingest: MemoryIngest) -> None:
    with RawScu(stage.place) as scu:
        scu.associate(calling="CT 2", called="ANY")
        scu.release()
    seen = ingest.admitted[-1]
    assert (seen.door, seen.address, seen.calling, seen.called) == ("dicom", "127.0.0.1", "CT 2", "ANY")


# --- Messages -------------------------------------------------------------------------------------------------------


def test_echo_and_store_are_answered(stage: Stage, ingest: MemoryIngest) -> None:
    with RawScu(stage.place) as scu:
        scu.associate()
        assert scu.echo() == Command(C_ECHO_RQ | RESPONSE, 9, VERIFICATION, status=0)
        assert scu.store("1.2.3", b"some data set") == Command(C_STORE_RQ | RESPONSE, 1, CT, "1.2.3", status=0)
        scu.release()
        assert ingest.kept["1.2.3"] == b"some data set"
        assert ingest.spools[-1].announced == (CT, "1.2.3", EXPLICIT)


@pytest.mark.parametrize("size", [0, 1, 2, 2**18, 3 * 2**20 + 1])
@pytest.mark.parametrize("maximum", [7, 131072])
def test_a_data_set_arrives_whole(stage: Stage, ingest: MemoryIngest, size: int, maximum: int) -> None:
    data_set = os.urandom(size if maximum > 7 else min(size, 5000))
    with RawScu(stage.place) as scu:
        scu.associate()
        assert scu.store("1.2.4", data_set, maximum_length=maximum).status == 0
        scu.release()
    assert ingest.kept["1.2.4"] == data_set


def test_every_byte_may_come_alone(stage: Stage, ingest: MemoryIngest) -> None:
    with RawScu(stage.place) as scu:
        for byte in build_request([(CT, [EXPLICIT])]):
            scu.send(bytes((byte,)))
        answer = scu.receive()
        assert answer is not None and answer[0] is Pdu.ASSOCIATE_AC
        for byte in build_store(1, CT, "1.2.5", b"abcdefgh", maximum_length=9):
            scu.send(bytes((byte,)))
        assert scu.response().status == 0
        for byte in build_release_request():
            scu.send(bytes((byte,)))
        assert scu.receive() == (Pdu.RELEASE_RP, bytes(4))
    assert ingest.kept["1.2.5"] == b"abcdefgh"


def test_several_fragments_share_a_pdu_and_messages_may_be_sent_ahead(stage: Stage, ingest: MemoryIngest) -> None:
    ingest.kept.clear()
    ahead = b""
    for number in range(20):
        pdus = [*build_data(1, build_command(Command(C_STORE_RQ, number, CT, f"1.{number}", True)), True, 0)]
        pdus += build_data(1, b"x" * number, False, 8)
        body = b"".join(pdu[6:] for pdu in pdus)
        ahead += b"\4\0" + len(body).to_bytes(4, "big") + body
    with RawScu(stage.place) as scu:
        scu.associate()
        scu.send(ahead + build_release_request())
        assert [(r.message_id, r.status) for r in (scu.response() for _ in range(20))] == [(n, 0) for n in range(20)]
        assert scu.receive() == (Pdu.RELEASE_RP, bytes(4))
    assert ingest.kept == {f"1.{number}": b"x" * number for number in range(20)}


def test_a_response_is_cut_to_what_the_other_side_receives(stage: Stage) -> None:
    with RawScu(stage.place) as scu:
        scu.associate(user=UserInformation(16, "1.2"))
        scu.send(STORE)
        longest = 0
        data = b""
        while not data.endswith(b"1.2.3\0"):
            answer = scu.receive()
            assert answer is not None
            longest, data = max(longest, len(answer[1])), data + answer[1][6:]
    assert longest == 16


@pytest.mark.parametrize(
    ("command", "context_id", "status"),
    [
        (Command(0x0020, 5, CT, has_data_set=True), 1, 0x0211),  # C-FIND
        (Command(0x0140, 5, CT), 1, 0x0211),  # N-CREATE
        (Command(C_ECHO_RQ, 5, CT), 1, 0x0211),
        (Command(C_ECHO_RQ, 5, CT), 3, 0x0122),
        (Command(C_STORE_RQ, 5, "1.2.840.10008.5.1.4.1.1.4", "1.2.3", True), 1, 0x0122),
        (Command(C_STORE_RQ, 5, VERIFICATION, "1.2.3", True), 3, 0x0211),
        (Command(C_STORE_RQ, 5, CT, "../../1.2", True), 1, 0x0117),
        (Command(C_STORE_RQ, 5, CT, "1." * 33 + "1", True), 1, 0x0117),
        (Command(C_STORE_RQ, 5, CT, "", True), 1, 0x0117),
        (Command(C_STORE_RQ, 5, CT, "1.2.3", False), 1, 0xC000),
    ],
)
def test_what_cannot_be_done_gets_a_status_and_the_association_goes_on(
    stage: Stage, ingest: MemoryIngest, command: Command, context_id: int, status: int
) -> None:
    ingest.spools.clear()
    data = b"".join(build_data(context_id, build_command(command), True, 0))
    if command.has_data_set:
        data += b"".join(build_data(context_id, b"y" * 50000, False, 1000))
    with RawScu(stage.place) as scu:
        scu.associate()
        scu.send(data)
        response = scu.response()
        assert (response.field, response.message_id, response.status) == (command.field | RESPONSE, 5, status)
        assert scu.echo().status == 0
        scu.release()
    assert ingest.spools == []


def test_a_cancel_of_nothing_is_silent(stage: Stage) -> None:
    with RawScu(stage.place) as scu:
        scu.associate()
        scu.send(b"".join(build_data(1, build_command(Command(0x0FFF, 5)), True, 0)))
        assert scu.echo(message_id=6).message_id == 6
        scu.release()


# --- Breaches -------------------------------------------------------------------------------------------------------

OVERSIZE_COMMAND = b"".join(build_data(1, bytes(70000), True, 16384))


@pytest.mark.parametrize(
    ("data", "abort"),
    [
        (b"\x08\0\0\0\0\4\0\0\0\0", (2, 1)),
        (b"\0\0\0\0\0\4\0\0\0\0", (2, 1)),
        (b"\6\0\0\0\0\4\0\0\0\0", (2, 2)),  # A-RELEASE-RP nobody asked for
        (build_request([(CT, [EXPLICIT])]), (2, 2)),  # a second request
        (b"\2\0\0\0\0\4\0\0\0\0", (2, 2)),
        (b"\4\0\xff\xff\xff\xff", (2, 6)),  # longer than announced
        (b"\4\0\0\2\x04\x01", (2, 6)),  # 131072 + 1025
        (b"\4\0\0\0\0\5\0\0\0\1\1", (2, 6)),  # no room for a fragment
        (b"\4\0\0\0\0\6\0\0\0\1\1\3", (2, 6)),  # a fragment of one byte
        (b"\4\0\0\0\0\7\0\0\0\4\1\3", (2, 6)),  # longer than its PDU
        (b"\4\0\0\0\0\x09\0\0\0\2\1\0abc", (2, 6)),  # three bytes nobody owns
        (b"\5\0\0\0\0\0", (2, 6)),
        (b"\5\0\0\0\1\0", (2, 6)),
        (b"".join(build_data(7, b"abc", True, 0)), (2, 6)),  # a context that was not accepted
        (b"".join(build_data(1, b"abc", True, 0)), (0, 0)),  # not a command set
        (b"".join(build_data(1, b"abc", False, 0)), (0, 0)),  # data set without command
        (STORE_COMMAND + b"".join(build_data(3, b"abc", False, 0)), (0, 0)),  # data set in another context
        (STORE_COMMAND + STORE_COMMAND, (0, 0)),  # two commands interleaved
        (b"\4\0\0\0\0\x0a\0\0\0\6\1\1\0\0\0\0" + STORE_COMMAND.replace(b"\1\3", b"\3\3", 1), (0, 0)),
        (b"".join(build_data(1, build_command(Command(C_ECHO_RQ | RESPONSE, 1, status=0)), True, 0)), (0, 0)),
        (OVERSIZE_COMMAND, (0, 0)),
    ],
)
def test_a_breach_is_answered_by_an_abort(stage: Stage, data: bytes, abort: tuple[int, int]) -> None:
    with RawScu(stage.place) as scu:
        scu.associate()
        scu.send(data)
        assert scu.receive() == (Pdu.ABORT, bytes((0, 0, *abort)))
        assert scu.receive() is None


@pytest.mark.parametrize(
    ("data", "abort"),
    [
        (b"GET / HTTP/1.1\r\nHost: drimbox\r\n\r\n", (2, 1)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), (2, 1)),  # a TLS ClientHello
        (b"\1\0\xff\xff\xff\xfe" + bytes(100000), (2, 6)),
        (b"\1\0\0\0\0\4\0\0\0\0", (2, 6)),
        (STORE, (2, 2)),
        (build_release_request(), (2, 2)),
        (build_request([]), (2, 6)),
        (build_request([(CT, [])]), (2, 6)),
    ],
)
def test_what_is_not_an_association_request_is_closed_at_once(
    stage: Stage, data: bytes, abort: tuple[int, int]
) -> None:
    with RawScu(stage.place) as scu:
        scu.send(data)
        assert scu.receive() in ((Pdu.ABORT, bytes((0, 0, *abort))), None)
        assert scu.receive() is None


def test_noise_never_opens_an_association(stage: Stage, ingest: MemoryIngest) -> None:
    admitted = len(ingest.admitted)
    for _ in range(30):
        with RawScu(stage.place) as scu:
            scu.send(b"\x80" + os.urandom(2000))
            while scu.receive() is not None:
                pass
    assert len(ingest.admitted) == admitted


def test_data_before_the_answer_is_a_breach(stage: Stage, ingest: MemoryIngest) -> None:
    with RawScu(stage.place) as scu:
        scu.send(build_request([(CT, [EXPLICIT])]) + STORE)
        assert scu.receive() == (Pdu.ABORT, bytes((0, 0, 2, 2)))


@pytest.mark.parametrize(
    "end",
    [b"", build_abort(AbortSource.SERVICE_USER), build_abort(AbortSource.SERVICE_USER)[:5], build_release_request()],
)
def test_a_message_that_is_cut_leaves_nothing(end: bytes) -> None:
    ingest = MemoryIngest()
    with open_door(ingest) as stage, RawScu(stage.place) as scu:
        scu.associate()
        scu.send(STORE_COMMAND + b"\4\0\0\0\0\x0a\0\0\0\6\1\0half" + end)
        if end == build_release_request():
            assert scu.receive() == (Pdu.RELEASE_RP, bytes(4))
        scu.socket.close()
        assert ingest.end.wait(60)
    assert [spool.is_discarded for spool in ingest.spools] == [True]
    assert (ingest.kept, ingest.ended) == ({}, [(0, 1)])


def test_a_refusal_in_mid_object_reads_to_the_end_and_answers() -> None:
    ingest = MemoryIngest(limit=100_000)
    with open_door(ingest) as stage, RawScu(stage.place) as scu:
        scu.associate()
        response = scu.store("1.2.6", bytes(3_000_000))
        assert (response.status, response.error_comment) == (0xA700, "object: more than 100000 bytes")
        assert scu.store("1.2.7", b"small").status == 0
        scu.release()
        assert ingest.end.wait(60)
        assert [spool.is_discarded for spool in ingest.spools] == [True, False]
        assert (stage.door.counts["stored"], stage.door.counts["refused"]) == (1, 1)
    assert ingest.ended == [(1, 1)]


def test_no_space_is_out_of_resources() -> None:
    def full() -> None:
        raise NoSpace("volume", "full: free some space, what was kept is safe")

    with open_door(MemoryIngest(on_open=full)) as stage, RawScu(stage.place) as scu:
        scu.associate()
        assert scu.store("1.2.6", bytes(300_000)).status == 0xA700
        assert scu.echo().status == 0


def test_a_bug_is_a_processing_failure_with_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    def fail(spool: object) -> None:
        raise ValueError("of a patient")

    with open_door(MemoryIngest(keep=fail)) as stage, RawScu(stage.place) as scu:
        scu.associate()
        response = scu.store("1.2.6", b"data")
        assert response.status == 0x0110
        incident = response.error_comment.removeprefix("incident ")
        assert incident in [getattr(record, "incident", "") for record in caplog.records]
        assert scu.echo().status == 0


def test_thousands_of_messages_leave_nothing_behind(stage: Stage) -> None:
    threads = set(threading.enumerate())
    with RawScu(stage.place) as scu:
        scu.associate()
        for _ in range(500):
            assert scu.echo().status == 0
        scu.release()
    for _ in range(200):  # health probes: connect, say nothing, leave
        RawScu(stage.place).socket.close()
    assert set(threading.enumerate()) <= threads  # those of tests before may end
