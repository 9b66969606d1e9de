"""Places and turns: whoever comes first may have all there is, but not against everybody else."""

import asyncio
import threading
from contextlib import suppress

import pytest

from drimbox.dicom_scp.limits import Places, may_enter
from drimbox.dicom_scp.turns import Turns


@pytest.mark.parametrize(
    ("held", "caller", "expected"),
    [
        ({}, "A", True),
        ({"A": 999}, "A", True),
        ({"A": 1000}, "A", False),
        ({"A": 1000}, "B", True),  # one holds more than half
        ({"A": 1000, "B": 4}, "B", True),
        ({"A": 1000, "B": 5}, "B", False),
        ({"A": 501, "B": 499}, "C", True),
        ({"A": 500, "B": 500}, "C", False),
        ({str(n): 1 for n in range(1000)}, "C", False),
        ({"A": 1000, **{str(n): 1 for n in range(50)}}, "C", False),  # those kept back are taken as well
    ],
)
def test_places(held, caller, expected):
    assert may_enter(held, caller, 1000, 1000) is expected


def test_a_caller_has_a_limit_of_its_own():
    assert may_enter({"A": 9}, "A", 1000, 10)
    assert not may_enter({"A": 10}, "A", 1000, 10)
    assert may_enter({"A": 10}, "B", 1000, 10)


def test_places_are_given_back():
    places = Places(2, 2)
    assert [places.enter("A") for _ in range(3)] == [True, True, False]
    places.leave("A")
    assert places.enter("A")
    assert not places.enter("A")


async def begun(turns, order, caller, name, go_on):
    async with turns.turn(caller):
        order.append(name)
        await go_on.wait()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_wait_are_called_caller_by_caller():
    turns, order = Turns(1), []
    ends = {name: asyncio.Event() for name in ("a1", "a2", "a3", "a4", "b1", "c1", "c2")}
    async with asyncio.TaskGroup() as group:
        for name, end in ends.items():
            group.create_task(begun(turns, order, name[0], name, end))
            await settle()
        assert order == ["a1"]
        for expected in ("a2", "b1", "c1", "a3", "c2", "a4"):
            ends[order[-1]].set()
            await settle()
            assert order[-1] == expected
        ends["a4"].set()


async def test_a_caller_never_has_more_than_each():
    turns, order = Turns(3, 2), []
    ends = {name: asyncio.Event() for name in ("a1", "a2", "a3", "b1", "b2")}
    async with asyncio.TaskGroup() as group:
        for name, end in ends.items():
            group.create_task(begun(turns, order, name[0], name, end))
            await settle()
        assert order == ["a1", "a2", "b1"]
        ends["b1"].set()
        await settle()
        assert order[3:] == ["b2"]  # a3 waits though it came first
        for end in ends.values():
            end.set()
    assert sorted(order) == sorted(ends)


async def test_one_that_gives_up_takes_no_turn():
    turns, order = Turns(1), []
    ends = {name: asyncio.Event() for name in ("a1", "b1", "c1")}
    tasks = {}
    for name, end in ends.items():
        tasks[name] = asyncio.create_task(begun(turns, order, name[0], name, end))
        await settle()
    tasks["b1"].cancel()
    await settle()
    ends["a1"].set()
    await settle()
    assert order == ["a1", "c1"]
    tasks["c1"].cancel()  # while it works
    with suppress(asyncio.CancelledError):
        await tasks["c1"]
    async with turns.turn("a"):
        pass


async def test_one_that_gives_up_as_it_is_called_passes_the_turn_on():
    turns = Turns(1)
    turns.enter("a")
    waiter = turns.enter("b")
    turns.leave("a")
    assert waiter is not None and waiter.has_turn
    turns.give_up(waiter)
    assert turns.enter("c") is None


async def test_turns_are_shared_by_loops():
    """Two loops, each with fifty pieces of work, never more than three at once."""
    turns, at_once, most, lock = Turns(3), 0, 0, threading.Lock()

    async def work(caller):
        nonlocal at_once, most
        async with turns.turn(caller):
            with lock:
                at_once += 1
                most = max(most, at_once)
            await asyncio.sleep(0)
            with lock:
                at_once -= 1

    async def fifty(caller):
        await asyncio.gather(*(work(caller) for _ in range(50)))

    await asyncio.gather(asyncio.to_thread(asyncio.run, fifty("a")), fifty("b"))
    assert (at_once, most) == (0, 3)


async def test_a_loop_that_is_gone_is_passed_over():
    turns = Turns(1)
    turns.enter("a")

    async def wait():
        turns.enter("b")

    await asyncio.to_thread(asyncio.run, wait())
    turns.leave("a")
    assert turns.enter("c") is None
