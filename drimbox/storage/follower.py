"""The index follows the packs: rows are committed just after the answer, since the packs alone can restore them.

Whoever reads waits until the index has caught up with what was acknowledged before (`mark`), so nobody in this process
sees an older state than he was told of. A crash in between costs nothing: see `recover`.
"""

import logging
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from drimbox.errors import DrimboxError, NoSpace
from drimbox.storage.database import Database, Transaction
from drimbox.storage.index import Entry

log = logging.getLogger(__name__)

_MOST: Final = 512  # entries of one transaction
_AGAIN_S: Final = 1.0


class Follower:
    """One thread that gives rows to kept instances, in the order in which they were kept.

    apply: the rows of some entries, in a transaction. done: told of entries that have their rows.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[Transaction, Sequence[Entry]], None],
        done: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._database = database
        self._apply = apply
        self._done = done
        self._queue: queue.SimpleQueue[Sequence[Entry] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._submitted = self._settled = 0  # groups
        self._marks: list[tuple[int, Future[None]]] = []  # settled when so many groups are
        self._closing = threading.Event()
        self._has_stopped = False
        self.refusal: DrimboxError | None = None  # why the index cannot follow now
        self._thread = threading.Thread(target=self._run, name="index-follower", daemon=True)
        self._thread.start()

    def submit(self, entries: Sequence[Entry]) -> None:
        """These are durable."""
        with self._lock:
            self._submitted += 1
            self._queue.put(entries)

    def mark(self) -> "Future[None] | None":
        """What is done once all that was submitted before has its rows; None when it has, or that may take long."""
        if self._submitted == self._settled:
            return None
        with self._lock:
            if self._submitted == self._settled or self.refusal is not None:
                return None
            future: Future[None] = Future()
            self._marks.append((self._submitted, future))
            return future

    def _run(self) -> None:
        is_open = True
        while is_open:
            groups, count = [self._queue.get()], 0
            while not self._queue.empty() and count < _MOST:
                groups.append(self._queue.get())
                count += len(groups[-1] or ())
            is_open = None not in groups
            if entries := [entry for group in groups for entry in group or ()]:
                self._write(entries)
            self._settle(sum(group is not None for group in groups))

    def _settle(self, groups: int) -> None:
        with self._lock:
            self._settled += groups
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
        with self._lock:  # who reads sees what there is
            self.refusal = refusal
            marks, self._marks = self._marks, []
        _release([future for _, future in marks])

    def close(self) -> None:
        """Write what was submitted, if it can be, then end the thread."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()


def _release(marks: Sequence["Future[None]"]) -> None:
    for future in marks:
        if future.set_running_or_notify_cancel():
            future.set_result(None)
