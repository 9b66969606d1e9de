"""C-STORE side by side: the same senders and the same instances to our node and to its peers, in turn.

All on loopback, P-DATA of 128 KiB, TCP_NODELAY everywhere. A figure alone says little on a shared machine; the ratio
inside one run says more. Our node answers once the instance is durable, audited and indexed; storescp does neither.
ext4 avoids for some minutes the inodes that were freed: where many files were removed just before, creating one costs
up to 0.3 ms more, to every receiver. Wait a while between two runs, or give --folder another place of the volume.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from corpus import Corpus, make_corpus
from receivers import NODELAY, PDU_BYTES, Orthanc, Ours, Receiver, Running, Storescp, run
from replay import build_stream, replay

STORESCU = Path("/usr/bin/storescu")  # not pynetdicom's of the same name
WAIT_S = 300.0


@dataclass(frozen=True)
class Sender:
    """send: to a place; how many seconds it took."""

    name: str
    send: Callable[[tuple[str, int]], float]


@dataclass
class Figures:
    """What one receiver did with one sender, a value each repetition."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--series", type=int, default=4, help="series, a study each (default 4)")
    parser.add_argument("--slices", type=int, default=60, help="instances a series (default 60)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions, of which the median counts (default 3)")
    parser.add_argument("--senders", default="replay1,replay4,storescu1,storescu4")
    parser.add_argument("--receivers", default="DRIMbox,storescp,Orthanc")
    parser.add_argument(
        "--folder", type=Path, default=None, help="work inside this one (default: the system's temporary folder)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")


def main(options: argparse.Namespace) -> int:
    receivers = [r for r in _receivers() if r.name in options.receivers.split(",")]
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-", dir=options.folder) as name:
        folder = Path(name)
        corpus = make_corpus(folder / "corpus", options.series, options.slices)
        senders = [s for s in _senders(folder, corpus) if s.name in options.senders.split(",")]
        results = {(s.name, r.name): Figures() for s in senders for r in receivers}
        for turn in range(options.repeat):
            for sender in senders:
                for receiver in receivers:
                    with run(receiver, folder / f"{turn}-{sender.name}-{receiver.name}") as running:
                        _measure(sender, receiver, running, corpus, results[sender.name, receiver.name])
        print(_table(results, senders, receivers, corpus, options))
    return 0


def _receivers() -> list[Receiver]:
    found: list[Receiver] = []
    for receiver in (Ours(), Storescp(), Orthanc()):
        if Path(receiver.program).exists():
            found.append(receiver)
        else:
            print(f"SKIPPED {receiver.name}: {receiver.program} is not installed")
    return found


def _senders(folder: Path, corpus: Corpus) -> list[Sender]:
    everything = [file for series in corpus.files for file in series]
    one = build_stream(folder / "one.bin", [everything])
    each = build_stream(folder / "each.bin", corpus.files)
    folders = [series[0].parent for series in corpus.files]
    found = [
        Sender("replay1", lambda place: replay(one, place)),
        Sender(f"replay{len(folders)}", lambda place: replay(each, place)),
    ]
    if STORESCU.exists():
        found.append(Sender("storescu1", lambda place: _storescu([folders], place)))
        found.append(Sender(f"storescu{len(folders)}", lambda place: _storescu([[f] for f in folders], place)))
    else:
        print(f"SKIPPED storescu: {STORESCU} is not installed")
    return found


def _storescu(associations: list[list[Path]], place: tuple[str, int]) -> float:
    start = time.perf_counter()
    options = ["-aec", "BENCH", "--max-pdu", str(PDU_BYTES), "+sd", place[0], str(place[1])]
    processes = [
        subprocess.Popen([STORESCU, *options, *folders], env=os.environ | NODELAY, stderr=subprocess.DEVNULL)
        for folders in associations
    ]
    codes = [process.wait(WAIT_S) for process in processes]
    if any(codes):
        raise RuntimeError(f"storescu ended with {codes}")
    return time.perf_counter() - start


def _measure(sender: Sender, receiver: Receiver, running: Running, corpus: Corpus, figures: Figures) -> None:
    before = running.cpu_s()
    seconds = sender.send(running.place)
    held = receiver.count(running)
    if held != corpus.count:
        raise RuntimeError(f"{receiver.name} holds {held} of {corpus.count} instances after {sender.name}")
    figures.seconds.append(seconds)
    figures.cpu_s.append(running.cpu_s() - before)
    print(f"  {sender.name:10} {receiver.name:9} {corpus.count / seconds:7.0f} inst/s", flush=True)


def _table(
    results: dict[tuple[str, str], Figures],
    senders: list[Sender],
    receivers: list[Receiver],
    corpus: Corpus,
    options: argparse.Namespace,
) -> str:
    ours = receivers[0].name
    peers = [receiver.name for receiver in receivers[1:]]
    head = ["sender", "receiver", "inst/s", "MB/s", "server ms/inst", f"{ours} is"]
    rows = [head]
    for sender in senders:
        own = statistics.median(results[sender.name, ours].seconds)
        for name in (ours, *peers):
            figures = results[sender.name, name]
            seconds = statistics.median(figures.seconds)
            cpu_ms = statistics.median(figures.cpu_s) / corpus.count * 1000
            rate, volume = corpus.count / seconds, corpus.data_bytes / seconds / 1e6
            ratio = f"x{seconds / own:.2f}" if name != ours else ""
            rows.append([sender.name, name, f"{rate:.0f}", f"{volume:.0f}", f"{cpu_ms:.2f}", ratio])
    if options.markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---" * len(head) + "|")
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    title = f"{corpus.count} instances, {corpus.data_bytes / 1e6:.0f} MB, median of {options.repeat}"
    return "\n".join([title, "", *lines])
