"""Who sends in the benchmark: the replayer, which costs next to nothing, and DCMTK's storescu."""

import itertools
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus import Corpus
from receivers import NODELAY, PDU_BYTES
from replay import Stream, replay

STORESCU = Path("/usr/bin/storescu")  # not pynetdicom's of the same name
WAIT_S = 600.0


@dataclass(frozen=True)
class Sent:
    """waits_ms: how long each response was waited for, sorted; empty when the sender does not tell."""

    seconds: float
    waits_ms: Sequence[float]


@dataclass(frozen=True)
class Sender:
    """`replay4`, `storescu16`: a kind, and how many associations at once."""

    kind: str
    associations: int

    @property
    def name(self) -> str:
        return f"{self.kind}{self.associations}"

    def send(self, corpus: Corpus, stream: Stream, place: tuple[str, int]) -> Sent:
        """Send the whole corpus, of which `stream` is the encoded form."""
        if self.kind == "replay":
            done = replay(stream, place, self.associations)
            return Sent(done.seconds, done.waits_ms)
        return Sent(_storescu(corpus, self.associations, place), ())


def read_senders(names: str) -> list[Sender]:
    """Senders named with commas between; those not installed are left out aloud. Raises ValueError."""
    found = []
    for name in names.split(","):
        kind, count = re.fullmatch(r"(replay|storescu)(\d+)", name).groups()  # type: ignore[union-attr]
        if kind == "storescu" and not STORESCU.exists():
            print(f"SKIPPED {name}: {STORESCU} is not installed")
        else:
            found.append(Sender(kind, int(count)))
    return found


def _storescu(corpus: Corpus, associations: int, place: tuple[str, int]) -> float:
    files = [file for series in corpus.files for file in series]
    edges = [len(files) * number // associations for number in range(associations + 1)]
    options = ["-aec", "BENCH", "--max-pdu", str(PDU_BYTES), place[0], str(place[1])]
    start = time.perf_counter()
    processes = [
        subprocess.Popen([STORESCU, *options, *files[low:high]], env=os.environ | NODELAY, stderr=subprocess.DEVNULL)
        for low, high in itertools.pairwise(edges)
    ]
    codes = [process.wait(WAIT_S) for process in processes]
    if any(codes):
        raise RuntimeError(f"storescu ended with {codes}")
    return time.perf_counter() - start
