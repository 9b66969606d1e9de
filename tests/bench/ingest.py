"""C-STORE side by side: the same senders and the same instances to our node and to its peers, in turn.

All on loopback, P-DATA of 128 KiB, TCP_NODELAY everywhere. A figure alone says little on a shared machine; the ratio
inside one run says more. Our node answers once the instance is durable and audited; storescp is neither.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import scenarios
from corpus import Corpus, make_corpus, make_headers
from receivers import Floor, Orthanc, Ours, Receiver, Running, Storescp, installed, run, stored_bytes
from replay import build_stream, replay
from senders import Sender, read_senders
from table import against, quantile, render

AIM = {  # of issue and documentation: our rate over the peer's; with storescu it spends half the machine itself
    ("Orthanc", "replay"): 3.5,
    ("Orthanc", "storescu"): 3.0,
    ("floor", "replay"): 0.6,
    ("floor", "storescu"): 0.6,
    ("storescp", "replay"): 1.0,
    ("storescp", "storescu"): 1.0,
}
AIM_P99_MS = 100.0
SENDERS = "replay1,replay4,replay16,storescu1,storescu4,storescu16"
QUICK_SENDERS = "replay1,replay4,storescu4"
WARM_UP = 32  # instances nobody counts, so that each receiver has loaded and touched what it needs


@dataclass
class Figures:
    """What one receiver did with one sender, a value each repetition."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", choices=["throughput", *scenarios.SCENARIOS], default="throughput")
    parser.add_argument("--quick", action="store_true", help="one round of the few that tell most: half a minute")
    parser.add_argument("--series", type=int, default=4, help="series, a study each (default 4)")
    parser.add_argument("--slices", type=int, default=75, help="instances a series (default 75)")
    parser.add_argument("--repeat", type=int, help="rounds, of which the median counts (default 3)")
    parser.add_argument("--senders", help=f"default {SENDERS}")
    parser.add_argument("--receivers", default="DRIMbox,floor,storescp,Orthanc")
    parser.add_argument("--workers", type=int, default=1, help="processes of our node (default 1)")
    parser.add_argument("--objects", type=int, default=0, help="of the scenarios tiny, per-object and aged")
    parser.add_argument(
        "--folder", type=Path, default=None, help="work inside this one (default: the system's temporary folder)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")


def main(options: argparse.Namespace) -> int:
    if options.quick:
        options.repeat, options.senders = options.repeat or 1, options.senders or QUICK_SENDERS
    options.repeat, options.senders = options.repeat or 3, options.senders or SENDERS
    wanted = options.receivers.split(",")
    receivers: list[Receiver] = [Ours(options.workers), Floor(), Storescp(), Orthanc()]
    receivers = installed([receiver for receiver in receivers if receiver.name in wanted])
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-", dir=options.folder) as name:
        scenario: Callable[..., str] = {"throughput": throughput, **scenarios.SCENARIOS}[options.scenario]
        print(scenario(Path(name), receivers, options))
    return 0


def throughput(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """Every sender to every receiver, in rounds; each round begins with another receiver."""
    corpus = make_corpus(folder / "corpus", options.series, options.slices)
    stream = build_stream(folder / "corpus.bin", corpus.data_sets())
    warm_up = build_stream(folder / "warm_up.bin", make_headers(WARM_UP))
    senders = read_senders(options.senders)
    results = {(s.name, r.name): Figures() for s in senders for r in receivers}

    def measure(sender: Sender, receiver: Receiver, running: Running) -> None:
        replay(warm_up, running.place, 4)
        figures = results[sender.name, receiver.name]
        before = running.cpu_s()
        sent = sender.send(corpus, stream, running.place)
        cpu_s = running.cpu_s() - before
        held, expected = receiver.count(running, corpus.count + WARM_UP), corpus.count + WARM_UP
        if held != expected:
            raise RuntimeError(f"{receiver.name} holds {held} of {expected} instances after {sender.name}")
        if stored_bytes(running) < 0.99 * corpus.data_bytes:  # our corpus counts the prefaces of its files too
            raise RuntimeError(f"{receiver.name} does not hold the bytes it acknowledged to {sender.name}")
        figures.rates.append(corpus.count / sent.seconds)
        figures.cpu_ms.append(cpu_s / corpus.count * 1000)
        if sent.waits_ms:
            figures.p50_ms.append(quantile(sent.waits_ms, 0.5))
            figures.p99_ms.append(quantile(sent.waits_ms, 0.99))
        print(f"  {sender.name:10} {receiver.name:9} {figures.rates[-1]:7.0f} inst/s", flush=True)

    for turn in range(options.repeat):
        for sender in senders:
            for number in range(len(receivers)):
                receiver = receivers[(number + turn) % len(receivers)]
                with run(receiver, folder / f"{turn}-{sender.name}-{receiver.name}") as running:
                    measure(sender, receiver, running)
    return _report(results, senders, receivers, corpus, options)


def _report(
    results: dict[tuple[str, str], Figures],
    senders: Sequence[Sender],
    receivers: Sequence[Receiver],
    corpus: Corpus,
    options: argparse.Namespace,
) -> str:
    ours = receivers[0].name
    head = ["sender", "receiver", "inst/s", "MB/s", "server ms/inst", "p50 ms", "p99 ms", f"{ours} is"]
    rows = []
    for sender in senders:
        own = results[sender.name, ours]
        for receiver in receivers:
            found = results[sender.name, receiver.name]
            waits = [f"{statistics.median(v):.1f}" if v else "" for v in (found.p50_ms, found.p99_ms)]
            if receiver.name == ours:
                last = f"p99 {waits[1]} ms (aim {AIM_P99_MS:.0f})" if sender.name == "replay16" else ""
            else:
                last = against(own.rate / found.rate, AIM.get((receiver.name, sender.kind), 1))
            megabytes = found.rate * corpus.data_bytes / corpus.count / 1e6
            cpu_ms = statistics.median(found.cpu_ms)
            rows.append(
                [sender.name, receiver.name, f"{found.rate:.0f}", f"{megabytes:.0f}", f"{cpu_ms:.2f}", *waits, last]
            )
    title = f"{corpus.count} instances, {corpus.data_bytes / 1e6:.0f} MB, median of {options.repeat}"
    return "\n".join([title, "", render(head, rows, markdown=options.markdown)])
