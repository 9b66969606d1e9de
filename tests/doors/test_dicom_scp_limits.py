"""Deadlines, limits and stops: nothing a peer does, or leaves undone, holds the door."""

import asyncio
import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drimbox.dicom.command import C_ECHO_RQ, C_STORE_RQ, VERIFICATION, Command, build_command
from drimbox.dicom.pdu import Pdu, build_data
from drimbox.dicom_scp import limits, link
from drimbox.dicom_scp.status import DIMSE_STATUS, error_comment
from drimbox.errors import Unavailable, leaves

sys.path.append(str(Path(__file__).parent))
from dicom_scp_stage import MemoryIngest, open_door
from raw_scu import CT, RawScu, build_request, build_store

ABORT_TIMEOUT = (Pdu.ABORT, bytes((0, 0, 2, 0)))
ABORT_USER = (Pdu.ABORT, bytes(4))
STORE_COMMAND = b"".join(build_data(1, build_command(Command(C_STORE_RQ, 1, CT, "1.2.3", True)), True, 0))
HALF = STORE_COMMAND + b"\4\0\0\0\0\x0a\0\0\0\6\1\2ha"
OTHER_HALF = b"lf"


def test_each_error_leaf_has_a_status() -> None:
    assert set(DIMSE_STATUS) == set(leaves())


def test_an_error_comment_is_short_and_plain() -> None:
    assert error_comment("é\\\n" + "x" * 100) == "???" + "x" * 61


# --- Deadlines ------------------------------------------------------------------------------------------------------


def test_a_connection_that_asks_nothing_is_closed() -> None:
    with open_door(MemoryIngest(), request_timeout_s=0.2) as stage, RawScu(stage.place) as scu:
        assert scu.receive() is None


def test_a_request_that_trickles_is_closed_at_its_deadline() -> None:
    """Each byte comes in time; the whole does not."""
    with open_door(MemoryIngest(), request_timeout_s=0.4) as stage, RawScu(stage.place) as scu:
        pause = threading.Event()
        with pytest.raises(ConnectionError):
            for byte in build_request([(CT, ["1.2"])]) * 10:
                scu.send(bytes((byte,)))
                pause.wait(0.02)


def test_an_idle_association_is_aborted() -> None:
    with open_door(MemoryIngest(), idle_timeout_s=0.2) as stage, RawScu(stage.place) as scu:
        scu.associate()
        assert scu.receive() == ABORT_TIMEOUT
        assert stage.door.counts["aborted"] == 1


def test_a_message_that_trickles_is_aborted_at_its_deadline_and_idle_time_does_not_count() -> None:
    ingest = MemoryIngest()
    with (
        open_door(ingest, idle_timeout_s=2, message_timeout_s=3) as stage,
        RawScu(stage.place) as scu,
    ):
        scu.associate()
        began = time.monotonic()
        scu.send(STORE_COMMAND + b"\4\0\0\0\3\xea\0\0\3\xe6\1\2")
        pause = threading.Event()
        scu.socket.setblocking(False)
        while True:
            try:
                scu.socket.recv(1, socket.MSG_PEEK)
                break
            except BlockingIOError:
                with contextlib.suppress(ConnectionError):  # the door may have gone since
                    scu.send(b"x")
                pause.wait(0.02)
        assert time.monotonic() - began >= 3
        scu.socket.settimeout(60)
        assert scu.receive() == ABORT_TIMEOUT
        assert ingest.end.wait(60)
    assert [spool.is_discarded for spool in ingest.spools] == [True]


def test_a_peer_that_does_not_read_is_dropped() -> None:
    """It asks and asks; its answers fill every buffer; then it is cut off, and nothing grew."""
    echo = b"".join(build_data(3, build_command(Command(C_ECHO_RQ, 1, VERIFICATION)), True, 0))
    with open_door(MemoryIngest(), request_timeout_s=2) as stage, RawScu(stage.place) as scu:
        scu.associate()
        with pytest.raises(ConnectionError):
            while True:
                scu.send(echo * 1000)


def test_a_peer_that_does_not_close_after_release_is_dropped() -> None:
    with open_door(MemoryIngest(), request_timeout_s=2) as stage, RawScu(stage.place) as scu:
        scu.associate()
        scu.release()
        assert scu.receive() is None


# --- Limits ---------------------------------------------------------------------------------------------------------


def test_one_association_too_many_is_told_to_come_back() -> None:
    with open_door(MemoryIngest(), max_associations=2) as stage:
        with RawScu(stage.place) as first, RawScu(stage.place) as second:
            first.associate()
            second.associate()
            with RawScu(stage.place) as third:
                third.send(build_request([(CT, ["1.2"])]))
                assert third.receive() == (Pdu.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))
            assert first.echo().status == 0
            second.release()
            while stage.door.counts["associations"] > 1:
                assert first.echo().status == 0
        with RawScu(stage.place) as later:
            later.associate()
            later.release()


def test_silent_connections_do_not_take_the_place_of_associations() -> None:
    with open_door(MemoryIngest(), max_associations=2, request_timeout_s=3600) as stage:
        silent = [RawScu(stage.place) for _ in range(60)]
        with RawScu(stage.place) as scu:
            scu.associate()
            assert scu.echo().status == 0
        flood = [RawScu(stage.place) for _ in range(20)]
        assert flood[-1].receive() is None  # beyond what the door can watch: closed at once
        for each in silent + flood:
            each.socket.close()


def test_hundreds_of_idle_associations_cost_no_thread_and_little_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with open_door(MemoryIngest()) as stage:
        with RawScu(stage.place) as scu:
            scu.associate()
        threads, before = set(threading.enumerate()), resident()
        scus = [RawScu(stage.place) for _ in range(300)]
        for scu in scus:
            scu.associate()
        assert stage.door.counts["associations"] >= 300
        assert set(threading.enumerate()) <= threads  # those of tests before may end
        assert resident() - before < 300 * 40_000
        for scu in scus:
            assert scu.echo().status == 0
            scu.socket.close()


def test_a_long_length_reserves_nothing() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with open_door(MemoryIngest()) as stage:
        scus = [RawScu(stage.place) for _ in range(50)]
        before = resident()
        for scu in scus:
            scu.send(b"\1\0\0\x0f\xff\xff" + bytes(100))
        with RawScu(stage.place) as scu:
            scu.associate()
        assert resident() - before < 10 * 2**20
        for scu in scus:
            scu.socket.close()


def test_requests_that_do_not_end_share_one_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_MOST_REQUEST_BYTES", 200_000)
    with open_door(MemoryIngest(), receivers=1, request_timeout_s=3600) as stage:
        scus = [RawScu(stage.place) for _ in range(3)]
        for scu in scus:
            with contextlib.suppress(ConnectionError):
                scu.send(b"\1\0\0\x0f\xff\xff" + bytes(90_000))
        (refused, *_), _, _ = select.select([scu.socket for scu in scus], [], [], 60)  # whichever is read last
        assert scus[[scu.socket for scu in scus].index(refused)].receive() is None
        for scu in scus:
            scu.socket.close()
        while stage.door.counts["connections"]:
            threading.Event().wait(0.01)
        with RawScu(stage.place) as scu:
            scu.associate()


# --- Stops ----------------------------------------------------------------------------------------------------------


def test_a_stop_lets_a_message_end_then_aborts() -> None:
    ingest = MemoryIngest()
    with open_door(ingest) as stage, RawScu(stage.place) as idle, RawScu(stage.place) as busy:
        idle.associate()
        busy.associate()
        assert busy.echo().status == 0
        busy.send(HALF)
        while not ingest.spools:
            assert idle.echo().status == 0
        stopping = threading.Thread(target=stage.stop, args=(10,))
        stopping.start()
        assert idle.receive() == ABORT_USER
        busy.send(OTHER_HALF)
        assert busy.response().status == 0
        assert busy.receive() == ABORT_USER
        idle.socket.close()
        busy.socket.close()
        stopping.join()
        with pytest.raises(ConnectionError):
            RawScu(stage.place)
    assert ingest.kept == {"1.2.3": b"half"}


def test_a_stop_does_not_wait_for_a_message_longer_than_its_grace() -> None:
    ingest = MemoryIngest()
    with open_door(ingest) as stage, RawScu(stage.place) as scu:
        scu.associate()
        scu.send(HALF)
        while not ingest.spools:
            threading.Event().wait(0.01)
        stage.stop(0.2)
        assert scu.receive() is None
    assert ingest.kept == {}
    assert ingest.ended == [(0, 1)]


def test_what_was_received_whole_is_kept_though_its_sender_left() -> None:
    entered, go_on = threading.Event(), threading.Event()

    async def wait() -> None:
        entered.set()
        await asyncio.to_thread(go_on.wait, 60)

    ingest = MemoryIngest(wait=wait)
    with open_door(ingest) as stage:
        with RawScu(stage.place) as scu:
            scu.associate()
            scu.send(build_store(1, CT, "1.2.3", b"whole"))
            assert entered.wait(60)
        go_on.set()
        assert ingest.end.wait(60)
    assert ingest.kept == {"1.2.3": b"whole"}


def test_a_port_that_is_taken_is_said_so() -> None:
    with (
        open_door(MemoryIngest()) as stage,
        pytest.raises(Unavailable, match="cannot listen"),
        open_door(MemoryIngest(), port=stage.place[1]),
    ):
        pass


def test_one_greedy_caller_does_not_keep_another_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight instances of one caller wait to be kept when that of another comes: it is the next but one."""
    monkeypatch.setattr(limits, "_STORES_AT_ONCE", 1)
    one_more = threading.Semaphore(0)

    async def wait() -> None:
        await asyncio.to_thread(one_more.acquire)

    ingest = MemoryIngest(wait=wait)
    with open_door(ingest, receivers=1) as stage, contextlib.ExitStack() as held:
        scus = [held.enter_context(RawScu(stage.place)) for _ in range(9)]
        probe = held.enter_context(RawScu(stage.place))
        probe.associate()
        for number, scu in enumerate(scus):
            scu.associate(calling="MODEST" if number == 8 else "GREEDY")
            scu.send(build_store(1, CT, f"1.{number + 1}", b"data"))
            while sum(len(spool.data) for spool in ingest.spools) < 4 * (number + 1):
                assert probe.echo().status == 0
        assert probe.echo().status == 0
        for _ in scus:
            one_more.release()
        for scu in scus:
            assert scu.response().status == 0
    assert list(ingest.kept)[:3] == ["1.1", "1.2", "1.9"]


def test_one_caller_does_not_take_all_associations_from_another() -> None:
    with open_door(MemoryIngest(), max_associations=20) as stage, contextlib.ExitStack() as held:

        def ask(calling: str) -> Pdu:
            scu = held.enter_context(RawScu(stage.place))
            scu.send(build_request([(CT, ["1.2"])], calling))
            answer = scu.receive()
            assert answer is not None
            return answer[0]

        assert {ask("GREEDY") for _ in range(20)} == {Pdu.ASSOCIATE_AC}
        assert ask("GREEDY") is Pdu.ASSOCIATE_RJ
        assert ask("MODEST") is Pdu.ASSOCIATE_AC
        assert ask("MODEST") is Pdu.ASSOCIATE_RJ  # one place in twenty


def test_a_caller_may_have_a_limit_of_its_own() -> None:
    with open_door(MemoryIngest(), max_associations_per_caller=2) as stage, contextlib.ExitStack() as held:
        for calling in ("ONE", "ONE", "TWO", "TWO"):
            held.enter_context(RawScu(stage.place)).associate(calling=calling)
        scu = held.enter_context(RawScu(stage.place))
        scu.send(build_request([(CT, ["1.2"])], "ONE"))
        assert scu.receive() == (Pdu.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))


# --- Bytes on their way in ------------------------------------------------------------------------------------------


def test_one_caller_cannot_keep_more_unfinished_than_it_may() -> None:
    """Two halves are all it may have; the third is refused and can be sent again once one of them was answered."""
    allowed = {"max_object_bytes": 2**20, "max_unfinished_bytes_per_caller": 2**21}
    with open_door(MemoryIngest(), **allowed) as stage, contextlib.ExitStack() as held:

        def begin(calling: str, sop_uid: str) -> tuple[RawScu, bytes]:
            """An association with half an instance sent, and the other half."""
            scu = held.enter_context(RawScu(stage.place))
            scu.associate(calling=calling)
            whole = build_store(1, CT, sop_uid, bytes(2**20 - 500))
            scu.send(whole[: len(whole) // 2])
            return scu, whole[len(whole) // 2 :]

        first, second = begin("GREEDY", "1.2.1"), begin("GREEDY", "1.2.2")
        third = held.enter_context(RawScu(stage.place))
        third.associate(calling="GREEDY")
        _until(lambda: third.store("1.2.3", b"small").status == 0xA700)
        assert "max_unfinished_bytes" in third.store("1.2.3", b"small").error_comment
        other, rest = begin("MODEST", "1.2.4")
        other.send(rest)
        assert other.response().status == 0
        for scu, rest in (first, second):
            scu.send(rest)
            assert scu.response().status == 0
        assert third.store("1.2.3", b"small").status == 0


def test_what_was_given_up_counts_no_more() -> None:
    allowed = {"max_object_bytes": 2**20, "max_unfinished_bytes_per_caller": 2**21}
    ingest = MemoryIngest(limit=1000)
    with open_door(ingest, **allowed) as stage:
        for _ in range(10):
            with RawScu(stage.place) as scu:  # cut in the middle
                scu.associate()
                scu.send(HALF)
        with RawScu(stage.place) as scu:
            scu.associate()
            for number in range(10):  # refused by the archive
                assert scu.store(f"1.2.{number}", bytes(5000)).status == 0xA700
        with RawScu(stage.place) as scu:
            scu.associate()
            _until(lambda: scu.store("1.2.3", b"small").status == 0)


def _until(is_so: Callable[[], bool]) -> None:
    """Ask again until it is: what others send is read by other threads."""
    pause = threading.Event()
    for _ in range(6000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it never was")
