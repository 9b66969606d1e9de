"""WADO-RS side by side: the same requests to our node, Orthanc with DICOMweb, and nginx with files, in turn.

Medians; every figure beside its aim. All on loopback, the page cache warm. Our node admits, traces and checks each
answer; the peers do none of it. Loading takes most of the time: give --folder to keep what was loaded for another run.
"""

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from client import Client, Timed, get, wrk
from receivers import Running, installed, run
from serve_corpus import BIG, BIG_FRAMES, CT, HEADERS, LS, ServeCorpus, make
from servers import Nginx, OrthancServer, OurServer

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
IMAGE_LS = 'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80'
IMAGE_HT = 'multipart/related; type="image/jphc"; transfer-syntax=1.2.840.10008.1.2.4.201'
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
RANKED = "".join(
    f'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.{syntax};q={q};boundary=**,'
    for syntax, q in (("4.70", 0.9), ("4.80", 0.8), ("4.91", 0.6), ("4.50", 0.5), ("4.51", 0.5), ("1", 0.4))
)
OURS, ORTHANC, NGINX = OurServer.name, OrthancServer.name, Nginx.name


@dataclass
class Row:
    """One line of the table. aims: what is wanted of our figure, or of its ratio to a peer."""

    name: str
    unit: str
    aims: str
    measure: dict[str, Callable[[], float]]
    repeat: int = 3
    figures: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> None:
        """Peers in turn, so that whatever the machine does beside hits all of them."""
        for _ in range(self.repeat):
            for name, measure in self.measure.items():
                self.figures.setdefault(name, []).append(measure())

    def cells(self) -> list[str]:
        medians = {name: statistics.median(values) for name, values in self.figures.items()}
        ratios = [
            f"x{(medians[OURS] / medians[peer]) ** (1 if self.unit.endswith('/s') else -1):.2f} {peer}"
            for peer in (ORTHANC, NGINX)
            if peer in medians and OURS in medians
        ]
        shown = [f"{medians[name]:.4g}" if name in medians else "" for name in (OURS, ORTHANC, NGINX)]
        return [self.name, self.unit, *shown, ", ".join(ratios), self.aims]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=2, help="of each measure of requests a second (default 2)")
    parser.add_argument("--only", default="", help="rows whose name holds one of these words, with commas between")
    parser.add_argument("--folder", type=Path, default=None, help="keep corpus and archives here for another run")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")
    parser.add_argument("--load", action="store_true", help="load into --folder, and measure nothing")


def main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as temporary, ExitStack() as stack:
        folder: Path = options.folder or Path(temporary)
        corpus = make(folder / "corpus", ct=300, ls=1300, headers=3000)
        running = {server.name: _started(server, folder, corpus, stack) for server in _servers()}
        if options.load:
            return 0
        rows = [row for row in _rows(folder, corpus, running, options.seconds) if _is_wanted(row.name, options.only)]
        for row in rows:
            row.run()
            print("  ".join(row.cells()), flush=True)
        print(_table(rows, markdown=options.markdown))
    return 0


def _is_wanted(name: str, only: str) -> bool:
    return not only or any(word in name for word in only.split(","))


def _servers() -> list[OurServer | OrthancServer | Nginx]:
    return installed([OurServer(), OrthancServer(), Nginx()])  # type: ignore[list-item, return-value]


def _started(server: OurServer | OrthancServer | Nginx, folder: Path, corpus: ServeCorpus, stack: ExitStack) -> Running:
    """It runs, and holds the corpus."""
    own = folder / server.name
    is_new = not own.exists()
    if is_new and isinstance(server, OurServer):
        server.load(own, corpus)
    running = stack.enter_context(run(server, own, keep=True))  # type: ignore[arg-type]
    if is_new and isinstance(server, OrthancServer):
        server.load(running, corpus)
    return running


def _rows(folder: Path, corpus: ServeCorpus, running: dict[str, Running], seconds: int) -> list[Row]:
    count = corpus.counts[CT]
    frames = [f"{corpus.instance(CT, number)}/frames/1" for number in range(1, count + 1)]
    ls_frames = [f"{corpus.instance(LS, number)}/frames/1" for number in range(1, corpus.counts[LS] + 1)]
    instances = [corpus.instance(CT, number) for number in range(1, count + 1)]
    nginx = _mirrored(folder, corpus, running, frames)

    def rates(paths: Sequence[str], accept: str, static: Sequence[str] = ()) -> dict[str, Callable[[], float]]:
        asked = {name: static if name == NGINX else paths for name in running}
        return {
            name: lambda name=name: wrk(running[name].http_port, asked[name], accept, seconds)  # type: ignore[misc]
            for name in running
            if asked[name]
        }

    def timed(
        paths: Sequence[str], accept: str, read: Callable[[list[Timed]], float], times: dict[str, int], **static: str
    ) -> dict[str, Callable[[], float]]:
        def measure(name: str) -> float:
            with Client(running[name].http_port) as client:
                chosen = Random(1).choices([static[name]] if name in static else paths, k=times[name])
                return read([client.get(path, accept) for path in chosen])

        return {name: lambda name=name: measure(name) for name in times if name in running}  # type: ignore[misc]

    big = [f"{corpus.instance(BIG, 1)}/frames/{number}" for number in range(1, BIG_FRAMES + 1)]
    few = {OURS: 500, ORTHANC: 100, NGINX: 500}
    rows = [
        Row("frame 512x512", "req/s", "x5 Orthanc, x0.7 nginx", rates(frames, OCTETS, nginx["frames"])),
        Row("frame stored JPEG-LS, ranked list", "req/s", "x10 Orthanc",
            {name: lambda name=name: wrk(running[name].http_port, ls_frames, RANKED if name == OURS else OCTETS, seconds)  # noqa: E501
             for name in running if name != NGINX}),
        Row("frame, first byte, p50", "ms", "0.5", timed(frames, OCTETS, _first(0.5), few, nginx=nginx["frames"][0])),
        Row("frame, first byte, p99", "ms", "2", timed(frames, OCTETS, _first(0.99), few, nginx=nginx["frames"][0])),
        Row("instance 527 kB", "req/s", "x2.5 Orthanc", rates(instances, DICOM, nginx["instances"])),
        Row("series of 300, 158 MB", "MB/s", "x1.5 Orthanc, x0.7 nginx",
            timed([corpus.series(CT)], DICOM, _speed, {OURS: 8, ORTHANC: 8, NGINX: 8}, nginx=nginx["series"][0])),
        Row("metadata of 300, warm", "req/s", "x500 Orthanc",
            _metadata(running, f"{corpus.series(CT)}/metadata", seconds)),
        Row("metadata of 3000, warm", "req/s", "x500 Orthanc",
            _metadata(running, f"{corpus.series(HEADERS)}/metadata", seconds)),
        Row("metadata of 300, cold", "ms", "a third of Orthanc's", _cold(running, f"{corpus.series(CT)}/metadata")),
        Row("metadata of 3000, cold", "ms", "a third of Orthanc's",
            _cold(running, f"{corpus.series(HEADERS)}/metadata"), repeat=1),
        Row("random frame of 1 GiB, p50", "ms", "1", timed(big, OCTETS, _whole, {OURS: 500, ORTHANC: 1})),
        Row("object of 1 GiB", "MB/s", "",
            timed([corpus.instance(BIG, 1)], DICOM, _speed, {OURS: 2, ORTHANC: 1}), repeat=1),
        Row("1300 JPEG-LS, first byte", "ms", "5", timed([corpus.series(LS)], RANKED, _first(0.5), {OURS: 5})),
        Row("1300 JPEG-LS, whole", "Gbit/s", "10", timed([corpus.series(LS)], RANKED, _gigabits, {OURS: 5})),
        Row("frame made JPEG-LS", "ms", "x4 Orthanc", timed(frames, IMAGE_LS, _whole, {OURS: 40, ORTHANC: 20})),
        Row("frame made HTJ2K, its JPEG-LS", "ms", "x4 Orthanc",
            timed(frames, IMAGE_HT, _whole, {OURS: 40}) | timed(frames, IMAGE_LS, _whole, {ORTHANC: 20})),
        Row("memory, most", "MB RSS", "200", {name: lambda name=name: _most_mb(running[name]) for name in running},  # type: ignore[misc]
            repeat=1),
    ]  # fmt: skip
    return rows


def _mirrored(
    folder: Path, corpus: ServeCorpus, running: dict[str, Running], frames: Sequence[str]
) -> dict[str, list[str]]:
    """What our node answers, as files of nginx; their paths."""
    if NGINX not in running:
        return {"frames": [], "instances": [], "series": []}
    port = running[OURS].http_port
    wanted = {
        "frames": (frames, OCTETS),
        "instances": ([path.removesuffix("/frames/1") for path in frames], DICOM),
        "series": ([corpus.series(CT)], DICOM),
    }
    for name, (paths, accept) in wanted.items():
        if not (folder / NGINX / "data" / name).exists():
            Nginx().keep(folder / NGINX, name, [get(port, path, accept) for path in paths])
    return {name: [f"/{name}/{number}" for number in range(1, len(paths) + 1)] for name, (paths, _) in wanted.items()}


def _metadata(running: dict[str, Running], path: str, seconds: int) -> dict[str, Callable[[], float]]:
    def orthanc() -> float:
        with Client(running[ORTHANC].http_port) as client:
            return 1000 / client.get(path, "application/dicom+json").whole_ms

    get(running[OURS].http_port, path, "application/dicom+json")
    ours = {OURS: lambda: wrk(running[OURS].http_port, [path], "application/dicom+json", seconds, "gzip")}
    return ours | ({ORTHANC: orthanc} if ORTHANC in running else {})


def _cold(running: dict[str, Running], path: str) -> dict[str, Callable[[], float]]:
    def once(name: str) -> float:
        if name == OURS:
            subprocess.run(["rm", "-rf", running[OURS].folder / "data/own/metadata"], check=True)
        with Client(running[name].http_port) as client:
            return client.get(path, "application/dicom+json", "gzip").whole_ms

    return {name: lambda name=name: once(name) for name in running if name != NGINX}  # type: ignore[misc]


def _first(quantile: float) -> Callable[[list[Timed]], float]:
    return lambda timed: sorted(each.first_ms for each in timed)[int(len(timed) * quantile)]


def _most_mb(running: Running) -> float:
    """The most memory the process held so far, its workers not counted."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _whole(timed: list[Timed]) -> float:
    return statistics.median(each.whole_ms for each in timed)


def _speed(timed: list[Timed]) -> float:
    return statistics.median(each.size_bytes / each.whole_ms / 1000 for each in timed)


def _gigabits(timed: list[Timed]) -> float:
    return _speed(timed) * 8 / 1000


def _table(rows: Sequence[Row], *, markdown: bool) -> str:
    lines = [["what", "unit", OURS, ORTHANC, NGINX, f"{OURS} is", "aim"], *(row.cells() for row in rows)]
    if markdown:
        written = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([written[0], "|---" * len(lines[0]) + "|", *written[1:]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
