"""The trail: what was done, by whom, to which study. Written before a byte leaves; no trail, no access (P17).

One JSON line a trace, chained: `hash` is SHA-256 over the line before it and the line itself, so that a line that was
changed, taken away or put in shows at the next one. Many traces share one sync.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from drimbox.durable import AppendLog
from drimbox.errors import Corrupt
from drimbox.group_commit import GroupCommit
from drimbox.model import Trace

_GENESIS: Final = "0" * 64
_MAX_LINE_BYTES: Final = 64 * 1024


class Trail:
    """The chained file. One a node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = AppendLog(path)
        self._number, self._hash = self._resume()
        self._group: GroupCommit[Trace, None] = GroupCommit("trail-writer", self._commit)

    def _resume(self) -> tuple[int, str]:
        """The number and hash of the last whole line; a tail torn by a crash, which let nothing out, is cut."""
        size = self.path.stat().st_size
        if not size:
            return 0, _GENESIS
        with self.path.open("rb") as file:
            file.seek(max(0, size - 2 * _MAX_LINE_BYTES))
            tail = file.read()
        if torn := len(tail) - tail.rfind(b"\n") - 1:
            self._log.cut(size - torn)
            tail = tail[: len(tail) - torn]
        if not tail:
            return 0, _GENESIS
        try:
            last = orjson.loads(tail.splitlines()[-1])
            return int(last["n"]), str(last["hash"])
        except (orjson.JSONDecodeError, KeyError, ValueError) as error:
            raise Corrupt("trail", f"the last line of {self.path} is damaged: run drimbox verify-trail") from error

    def begin(self, trace: Trace) -> "asyncio.Future[None]":
        """Done once the trace is durable. Raises NoSpace or Unavailable then: the access must not happen."""
        return self._group.begin(trace)

    async def write(self, trace: Trace) -> None:
        """Return once the trace is durable. Raises as `begin`."""
        await self.begin(trace)

    def _commit(self, traces: Sequence[Trace]) -> Sequence[None]:
        number, chained, lines = self._number, self._hash, []
        for trace in traces:
            number += 1
            body = orjson.dumps({"n": number, **asdict(trace)})
            chained = _link(chained, body)
            lines.append(body[:-1] + b',"hash":"' + chained.encode() + b'"}\n')
        self._log.append(b"".join(lines))
        self._number, self._hash = number, chained
        return [None] * len(traces)

    def close(self) -> None:
        """Write what was submitted, then close the file."""
        self._group.close()
        self._log.close()


def _link(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + body).hexdigest()


def verify_trail(path: Path) -> int:
    """Walk the chain and return how many traces it holds. Raises Corrupt at the first line that does not follow."""
    previous, number = _GENESIS, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            body, separator, end = line.rpartition(b',"hash":"')
            told = end[:64].decode("ascii", "replace")
            previous = _link(previous, body + b"}")
            if not separator or end[64:] != b'"}\n' or told != previous or orjson.loads(line)["n"] != number:
                raise Corrupt("trail", f"line {number} of {path.name} does not follow the line before it")
    return number
