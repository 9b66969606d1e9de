"""C-STORE in other circumstances than a steady stream of slices. Each gives a table."""

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import sampled
from corpus import make_corpus, make_headers
from receivers import Floor, Ours, Pynetdicom, Receiver, Running, Storescp, installed, run
from replay import build_stream, replay
from table import against, render

AIM_TINY, AIM_PER_OBJECT, AIM_AGED, AIM_OVERLAP = 3.0, 2.0, 0.9, 1.0
TINY, PER_OBJECT, AGED = 2000, 300, 200_000  # how many instances, unless --objects says
_MOST_SETTLE_S, _QUIET_CPU_S = 120, 0.1  # of a node that has begun: how long, and how busy it may be in a second


def tiny(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """Objects of a header alone, 4 associations: what an instance costs beside its bytes."""
    count = options.objects or TINY
    stream = build_stream(folder / "tiny.bin", make_headers(count))
    rates: dict[str, list[float]] = {receiver.name: [] for receiver in receivers}
    for turn in range(options.repeat):
        for receiver in receivers:
            with run(receiver, folder / f"{turn}-{receiver.name}") as running:
                rates[receiver.name].append(count / replay(stream, running.place, 4).seconds)
                _held(receiver.count(running, count), count, receiver)
    aims = {"Orthanc": AIM_TINY}
    return f"{count} objects of a header alone, replay4\n\n" + _rates(rates, aims, options)


def per_object(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """An association for each instance: open, store, release, 1 and 4 at once."""
    count = options.objects or PER_OBJECT
    corpus = make_corpus(folder / "corpus", 4, -(-count // 4))
    stream = build_stream(folder / "corpus.bin", corpus.data_sets())
    peers = installed([Ours(options.workers), Pynetdicom(), Floor(), Storescp()])
    rates: dict[str, list[float]] = {f"{receiver.name}, {n}": [] for n in (1, 4) for receiver in peers}
    for turn in range(options.repeat):
        for associations in (1, 4):
            for receiver in peers:
                with run(receiver, folder / f"{turn}-{associations}-{receiver.name}") as running:
                    done = replay(stream, running.place, associations, one_each=True)
                    _held(receiver.count(running, corpus.count), corpus.count, receiver)
                rates[f"{receiver.name}, {associations}"].append(corpus.count / done.seconds)
    parts = []
    for associations in (1, 4):
        mine = {name: value for name, value in rates.items() if name.endswith(f", {associations}")}
        parts.append(_rates(mine, {f"pynetdicom, {associations}": AIM_PER_OBJECT}, options))
    return f"{corpus.count} instances of 527 kB, an association each\n\n" + "\n\n".join(parts)


def overlap(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """A second sender joins the first: the total while both send, over the rate of the first alone."""
    corpus = make_corpus(folder / "corpus", 2, max(200, options.slices * 2))
    stream = build_stream(folder / "corpus.bin", corpus.data_sets())
    found: dict[str, list[tuple[float, float]]] = {receiver.name: [] for receiver in receivers}
    for turn in range(options.repeat):
        for receiver in receivers:
            with run(receiver, folder / f"{turn}-{receiver.name}") as running:
                done = replay(stream, running.place, 2, joins_after=corpus.count // 4)
            first, second = done.associations
            joined, end = second[0].sent_s, min(first[-1].answered_s, second[-1].answered_s)
            found[receiver.name].append((done.rate(done.start_s, joined), done.rate(joined, end)))
    rows = []
    for name, pairs in found.items():
        alone, both = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        said = against(ratio, AIM_OVERLAP) if name == Ours.name else f"x{ratio:.2f}"
        rows.append([name, f"{alone:.0f}", f"{both:.0f}", said])
    head = ["receiver", "one sender, inst/s", "both, inst/s", "with the second"]
    return f"A second sender joins, median of {options.repeat}\n\n" + render(head, rows, markdown=options.markdown)


def aged(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """A node that holds many instances beside a fresh one, in turn, each round with instances new to both."""
    count, own = options.objects or AGED, Ours(options.workers)
    old = folder / "aged"
    filling = build_stream(folder / "headers.bin", make_headers(count))
    with run(own, old, keep=True) as running:
        done = replay(filling, running.place, 16)
        _held(own.count(running, count), count, own)
    print(f"  filled with {count} instances at {count / done.seconds:.0f} inst/s", flush=True)
    filling.file.unlink()
    rates: dict[str, list[float]] = {"fresh": [], "aged": []}
    for turn in range(options.repeat):
        corpus = make_corpus(folder / f"corpus{turn}", options.series, options.slices, 1 + turn * options.series)
        stream = build_stream(folder / "corpus.bin", corpus.data_sets())
        for name in ("fresh", "aged") if turn % 2 else ("aged", "fresh"):
            with run(own, old if name == "aged" else folder / f"fresh{turn}", keep=name == "aged") as running:
                _settle(running)
                rates[name].append(corpus.count / replay(stream, running.place, 4).seconds)
            print(f"  {name:10} {rates[name][-1]:7.0f} inst/s", flush=True)
        shutil.rmtree(folder / f"corpus{turn}")
    fresh, now = (statistics.median(rates[name]) for name in ("fresh", "aged"))
    rows = [["fresh", f"{fresh:.0f}", ""], [f"holds {count}", f"{now:.0f}", against(now / fresh, AIM_AGED)]]
    return "replay4, 527 kB\n\n" + render(["node", "inst/s", "of the fresh one's"], rows, markdown=options.markdown)


def profile(folder: Path, receivers: Sequence[Receiver], options: argparse.Namespace) -> str:
    """Where the node's time goes while 4 associations send, sampled from outside; and what the floor's does."""
    corpus = make_corpus(folder / "corpus", options.series, options.slices)
    stream = build_stream(folder / "corpus.bin", corpus.data_sets())
    parts = []
    for receiver in (r for r in receivers if r.name in ("DRIMbox", "floor")):
        with run(receiver, folder / receiver.name) as running:
            before = running.cpu_s()
            with sampled.sampling(running.process.pid, folder / f"{receiver.name}.txt") as samples:
                done = replay(stream, running.place, 4)
            cpu_ms = (running.cpu_s() - before) / corpus.count * 1000
        parts.append(f"{receiver.name}: {corpus.count / done.seconds:.0f} inst/s, {cpu_ms:.2f} ms of processor each")
        parts.append(sampled.report(samples, markdown=options.markdown))
    return "\n\n".join(parts)


def _settle(running: Running) -> None:
    """Wait until what a start has to do is done: the rate of a node at work is asked, not of one that begins."""
    for _ in range(_MOST_SETTLE_S):
        before = running.cpu_s()
        time.sleep(1)
        if running.cpu_s() - before < _QUIET_CPU_S:
            return


def _held(held: int, expected: int, receiver: Receiver) -> None:
    if held != expected:
        raise RuntimeError(f"{receiver.name} holds {held} of {expected} instances")


def _rates(rates: dict[str, list[float]], aims: dict[str, float], options: argparse.Namespace) -> str:
    ours, *_ = rates
    own = statistics.median(rates[ours])
    rows = [[ours, f"{own:.0f}", ""]]
    for name, values in list(rates.items())[1:]:
        rate = statistics.median(values)
        said = against(own / rate, aims[name]) if name in aims else f"x{own / rate:.2f}"
        rows.append([name, f"{rate:.0f}", said])
    return render(["receiver", "inst/s", f"{ours} is"], rows, markdown=options.markdown)


SCENARIOS: dict[str, Callable[..., str]] = {
    "tiny": tiny,
    "per-object": per_object,
    "overlap": overlap,
    "aged": aged,
    "profile": profile,
}
