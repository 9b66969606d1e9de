"""What is begun ahead of its turn leaves in order, and nothing begun stays open."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest

from drimbox.flows.ahead import in_order


class House:
    def __init__(self):
        self.begun, self.closed = [], []

    async def give(self, name, fails=False):
        self.begun.append(name)
        try:
            await asyncio.sleep(0)
            if fails:
                raise ValueError(name)
            for part in range(3):
                yield b"%d%d" % (name, part)
        finally:
            self.closed.append(name)


async def gather(makers, depth):
    got = []
    async with aclosing(in_order(makers, depth)) as items:
        async for chunks in items:
            async with aclosing(chunks):
                got += [chunk async for chunk in chunks]
    return got


@pytest.mark.parametrize("depth", [0, 1, 3, 20])
async def test_everything_comes_in_order(depth):
    house = House()
    got = await gather([partial(house.give, name) for name in range(7)], depth)
    assert got == [b"%d%d" % (name, part) for name in range(7) for part in range(3)]
    assert sorted(house.closed) == list(range(7))


async def test_no_more_are_begun_than_asked():
    house = House()
    async with aclosing(in_order([partial(house.give, name) for name in range(9)], 2)) as items:
        chunks = await anext(items)
        assert await anext(chunks) == b"00"
        for _ in range(9):
            await asyncio.sleep(0)
        assert house.begun == [0, 1, 2]
        await chunks.aclose()
    assert sorted(house.closed) == house.begun


async def test_a_failure_comes_in_its_turn_and_closes_the_others():
    house = House()
    makers = [partial(house.give, 0), partial(house.give, 1, fails=True), partial(house.give, 2)]
    with pytest.raises(ValueError, match="1"):
        await gather(makers, 2)
    assert sorted(house.closed) == sorted(house.begun)


async def test_whoever_gives_up_leaves_nothing_open():
    house = House()
    async with aclosing(in_order([partial(house.give, name) for name in range(5)], 3)) as items:
        await (await anext(items)).aclose()
    assert sorted(house.closed) == sorted(house.begun)
