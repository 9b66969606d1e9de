"""Work of which only so much is done at once, shared out caller by caller (promise P14)."""

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from types import TracebackType


@dataclass(slots=True)
class _Waiter:
    caller: str
    loop: asyncio.AbstractEventLoop
    called: asyncio.Future[None]
    has_turn: bool = False


class Turns:
    """Work of which only so much is done at once: those who wait are called caller by caller, not in a queue.

    Whoever has a hundred pieces of work waiting is called as often as whoever has one. most: at once, of all callers;
    each: of one caller. Serves any number of loops.
    """

    def __init__(self, most: int, each: int | None = None) -> None:
        self._free = most
        self._each = most if each is None else each
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()  # the caller whose turn is nearest first
        self._lock = threading.Lock()

    def turn(self, caller: str) -> "Turn":
        """For `async with`: one piece of work of this caller."""
        return Turn(self, caller)

    def enter(self, caller: str) -> _Waiter | None:
        """Begin at once, or be put among those who wait."""
        with self._lock:
            if self._free and caller not in self._waiting and self._held[caller] < self._each:
                self._free -= 1
                self._held[caller] += 1
                return None
            loop = asyncio.get_running_loop()
            waiter = _Waiter(caller, loop, loop.create_future())
            self._waiting.setdefault(caller, deque()).append(waiter)
            return waiter

    def leave(self, caller: str) -> None:
        """A piece of work is done: those who may begin now are called."""
        with self._lock:
            self._free += 1
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]
            while self._free and (waiter := self._take_next()):
                try:
                    waiter.loop.call_soon_threadsafe(_call, waiter)
                except RuntimeError:  # its loop is gone, and it with it
                    continue
                waiter.has_turn = True
                self._free -= 1
                self._held[waiter.caller] += 1

    def _take_next(self) -> _Waiter | None:
        caller = next((one for one in self._waiting if self._held[one] < self._each), None)
        if caller is None:
            return None
        waiters = self._waiting[caller]
        waiter = waiters.popleft()
        if waiters:
            self._waiting.move_to_end(caller)
        else:
            del self._waiting[caller]
        return waiter

    def give_up(self, waiter: _Waiter) -> None:
        """It waits no more; if it had been called meanwhile, somebody else is."""
        with self._lock:
            waiters = self._waiting.get(waiter.caller)
            if waiters and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[waiter.caller]
        if waiter.has_turn:
            self.leave(waiter.caller)


def _call(waiter: _Waiter) -> None:
    if not waiter.called.done():
        waiter.called.set_result(None)


class Turn:
    """See Turns."""

    __slots__ = ("_caller", "_turns")

    def __init__(self, turns: Turns, caller: str) -> None:
        self._turns = turns
        self._caller = caller

    async def __aenter__(self) -> None:
        waiter = self._turns.enter(self._caller)
        if waiter is not None:
            try:
                await waiter.called
            except asyncio.CancelledError:
                self._turns.give_up(waiter)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.leave(self._caller)
