"""The index follows the packs: rows are committed just after the answer, since the packs alone can restore them.

Many at once, so that a row costs the senders next to nothing: as soon as there are `_MANY`, or somebody reads, or the
oldest has waited `longest_s`. Whoever reads waits until the index has caught up with what was acknowledged before
(`mark`), so nobody in this process sees an older state than he was told of. A crash in between costs nothing: see
`recover`.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from drimbox.errors import DrimboxError, NoSpace
from drimbox.storage.database import Database, Transaction
from drimbox.storage.index import Entry

log = logging.getLogger(__name__)

_MANY: Final = 256  # entries that are not waited beyond
_AGAIN_S: Final = 1.0


class Follower:
    """One thread that gives rows to kept instances, in the order in which they were kept.

    apply: the rows of some entries, in a transaction. done: told of entries that have their rows. longest_s: how long
    an entry waits for others, in seconds.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[Transaction, Sequence[Entry]], None],
        done: Callable[[Sequence[Entry]], None],
        longest_s: float,
    ) -> None:
        self._database = database
        self._apply = apply
        self._done = done
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._waiting: list[Entry] = []
        self.submitted = self._settled = 0  # entries, since the start
        self._marks: list[tuple[int, Future[None]]] = []  # settled when so many entries are
        self._closing = threading.Event()
        self._has_stopped = False
        self.refusal: DrimboxError | None = None  # why the index cannot follow now
        self._thread = threading.Thread(target=self._run, name="index-follower", daemon=True)
        self._thread.start()

    def submit(self, entries: Sequence[Entry]) -> None:
        """These are durable."""
        with self._changed:
            before = len(self._waiting)
            self._waiting += entries
            self.submitted += len(entries)
            if not before or before < _MANY <= len(self._waiting):
                self._changed.notify()

    def mark(self) -> "Future[None] | None":
        """What is done once all that was submitted before has its rows; None when it has, or that may take long."""
        if self.submitted == self._settled:
            return None
        with self._changed:
            if self.submitted == self._settled or self.refusal is not None:
                return None
            future: Future[None] = Future()
            self._marks.append((self.submitted, future))
            self._changed.notify()
            return future

    def _run(self) -> None:
        while entries := self._next():
            self._write(entries)
            self._settle(len(entries))

    def _next(self) -> list[Entry]:
        """What is to get its rows now; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            self._changed.wait_for(
                lambda: self._marks or len(self._waiting) >= _MANY or self._closing.is_set(), self._longest_s
            )
            entries, self._waiting = self._waiting, []
            return entries

    def _settle(self, count: int) -> None:
        with self._changed:
            self._settled += count
            ready = [future for target, future in self._marks if target <= self._settled]
            self._marks = [mark for mark in self._marks if mark[0] > self._settled]
        _release(ready)

    def _write(self, entries: Sequence[Entry]) -> None:
        """Commit, and commit again while only space is missing: until then nothing new is taken.

        What cannot be written now is found at the next start, and so is all that comes after it: a pack has its rows
        up to some place, without gaps.
        """
        while not self._has_stopped:
            try:
                self._database.submit(lambda transaction: self._apply(transaction, entries), durable=False).result()
            except NoSpace as refusal:
                self._refuse(refusal)
                self._has_stopped = self._closing.wait(_AGAIN_S)
            except DrimboxError as refusal:  # the index is damaged, or its medium: until a restart
                self._refuse(refusal)
                self._has_stopped = True
            except Exception:  # a bug: the others must not wait for it
                if len(entries) > 1:
                    for entry in entries:
                        self._write([entry])
                else:
                    extra = {"incident": secrets.token_hex(4), "file": entries[0].file, "offset": entries[0].offset}
                    log.exception("instance_not_indexed", extra=extra)
                return
            else:
                self.refusal = None
                self._done(entries)
                return

    def _refuse(self, refusal: DrimboxError) -> None:
        if self.refusal is None:
            log.error("index_behind", extra={"what": refusal.what, "why": refusal.why})
        with self._changed:  # who reads sees what there is
            self.refusal = refusal
            marks, self._marks = self._marks, []
        _release([future for _, future in marks])

    def close(self) -> None:
        """Write what was submitted, if it can be, then end the thread."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join()


def _release(marks: Sequence["Future[None]"]) -> None:
    for future in marks:
        if future.set_running_or_notify_cancel():
            future.set_result(None)
