"""MB/s of each decoder and encoder beside pydicom's best route, a series made on both cores, and pictures."""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import pydicom
import uvloop
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from keeping import keep

from drimbox.flows.ahead import in_order
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import PixelDescription
from drimbox.pixels.draw import Artist
from drimbox.pixels.drawing import Drawing
from drimbox.pixels.encode import _ENCODERS, encode_frame
from drimbox.pixels.grayscale import Window
from drimbox.pixels.header import Item
from drimbox.pixels.images import Pixels
from drimbox.pixels.plan import Target, target_photometric
from drimbox.pixels.pool import Pool

NATIVE = "1.2.840.10008.1.2.1"
SYNTAXES = {
    "HTJ2K": "1.2.840.10008.1.2.4.201",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
# The aims, as a ratio to pydicom's best route.
AIMS = {
    ("HTJ2K", "decode"): 1.7,
    ("JPEG-LS", "encode"): 1.4,
    ("JPEG Lossless", "decode"): 2.3,
    ("RLE", "encode"): 4.0,
}


@dataclass(frozen=True)
class Picture:
    name: str
    samples: NDArray[Any]
    description: PixelDescription


def pictures() -> Iterator[Picture]:
    """Invented, and like what scanners send: smooth, with noise."""
    random = np.random.default_rng(7)
    ct = corpus._pictures(random)[0]
    yield _picture("CT", ct, 12)
    yield _picture("MR", np.ascontiguousarray(ct[128:384, 128:384]), 12)
    y, x = np.mgrid[0:3000, 0:2500]
    dx = 8000 + 4000 * np.sin(x / 400) * np.cos(y / 500) + random.normal(0, 60, (3000, 2500))
    yield _picture("DX", dx.clip(0, 16383).astype("<u2"), 14)
    speckle = random.integers(0, 60, (600, 800), dtype="u1")
    speckle[:, :150] = 0
    yield _picture("US", np.ascontiguousarray(np.stack([speckle, speckle, speckle // 2], -1)), 8)


def _picture(name: str, samples: NDArray[Any], stored: int) -> Picture:
    rows, columns, count = (*samples.shape, 1)[:3]
    colours = "RGB" if count == 3 else "MONOCHROME2"
    return Picture(
        name, samples, PixelDescription(rows, columns, count, samples.itemsize * 8, stored, 0, colours, 0, 1)
    )


def seconds(work: Callable[[], Any], least_s: float = 0.25) -> float:
    """The median of repeated calls."""
    work()
    taken: list[float] = []
    until = time.perf_counter() + least_s
    while len(taken) < 3 or time.perf_counter() < until:
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


# --- Codecs beside pydicom --------------------------------------------------------------------------------------


def codecs() -> None:
    print(f"{'':10}{'':16}{'ours':>8}{'pydicom':>9}  ratio   (MB/s of pixels, one core; encoders without the check)")
    for picture in pictures():
        native = picture.samples.tobytes()
        for name, syntax in SYNTAXES.items():
            d = picture.description
            stream = encode_frame(native, NATIVE, d, Target(syntax))
            told = replace(d, photometric=target_photometric(d.photometric, Target(syntax)))
            rows = {
                "decode": (partial(decode_frame, stream, syntax, told), _pydicom_decoders(picture, syntax, stream)),
                "encode": (partial(_ENCODERS[syntax], native, d, False), _pydicom_encoders(picture, syntax)),
            }
            for way, (ours, theirs) in rows.items():
                own = len(native) / seconds(ours) / 1e6
                best, plugin = max(
                    ((len(native) / seconds(work) / 1e6, plugin) for plugin, work in theirs.items()),
                    default=(0, "none"),
                )
                aim = AIMS.get((name, way))
                ratio = f"{own / best:5.2f}" if best else "    -"
                print(
                    f"{picture.name:4}{name:14}{way:8}{own:8.0f}{best:9.0f}  {ratio}   {plugin}"
                    + (f", aim {aim:g}" if aim else ""),
                    flush=True,
                )


def _data_set(picture: Picture) -> pydicom.Dataset:
    d = picture.description
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(NATIVE)
    made.Rows, made.Columns, made.SamplesPerPixel = d.rows, d.columns, d.samples
    made.BitsAllocated, made.BitsStored, made.HighBit = d.bits_allocated, d.bits_stored, d.bits_stored - 1
    made.PixelRepresentation, made.PhotometricInterpretation, made.NumberOfFrames = 0, d.photometric, 1
    if d.samples == 3:
        made.PlanarConfiguration = 0
    made.PixelData = picture.samples.tobytes()
    return made


def _pydicom_decoders(picture: Picture, syntax: str, stream: bytes) -> dict[str, Callable[[], Any]]:
    made = _data_set(picture)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    if picture.description.samples == 3 and syntax.endswith(("90", "201")):
        made.PhotometricInterpretation = "YBR_RCT"
    made.PixelData = encapsulate([stream])
    made["PixelData"].is_undefined_length = True
    decoder = get_decoder(UID(syntax))
    works = {}
    for plugin in decoder.available_plugins:
        work = partial(decoder.as_array, made, decoding_plugin=plugin, raw=True)
        try:
            work()
        except Exception as error:  # this plugin cannot: the others are the peers
            print(f"  (pydicom with {plugin} does not decode {picture.name} {syntax}: {type(error).__name__})")
            continue
        works[plugin] = work
    return works


def _pydicom_encoders(picture: Picture, syntax: str) -> dict[str, Callable[[], Any]]:
    works: dict[str, Callable[[], Any]] = {}
    for plugin in ("pylibjpeg", "gdcm", "pyjpegls", "pydicom"):

        def work(plugin: str = plugin) -> None:
            made = _data_set(picture)
            made.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
            next(generate_frames(made.PixelData, number_of_frames=1))

        try:
            work()
        except Exception:
            continue
        works[plugin] = work
    return works


# --- A series on both cores ---------------------------------------------------------------------------------------


def series(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = corpus.make_corpus(Path(folder) / "made", 1, count)
        images = [keep(Path(folder), file.read_bytes(), file.name) for file in made.files[0]]
        print(f"\na CT series of {count}: instances/s on {os.cpu_count()} cores, made, checked and streamed")
        for name in ("JPEG-LS", "JPEG Lossless", "HTJ2K"):
            with get_context("spawn").Pool(2) as processes:
                one = count / 4 / processes.map(_encode_many, [(SYNTAXES[name], count // 4)], chunksize=1)[0]
                both = sum(count / 2 / s for s in processes.map(_encode_many, [(SYNTAXES[name], count // 2)] * 2, 1))
            streamed, first_s, frame_s = uvloop.run(_stream(images, SYNTAXES[name]))
            print(
                f"{name:14} codec and check: one core {one:5.0f}, two {both:5.0f} (x{both / one:.2f}, aim 1.7); "
                f"stream {streamed:5.0f} ({streamed / both:.2f} of it, aim 0.85); "
                f"first instance {first_s * 1e3:.1f} ms; one frame {frame_s * 1e3:.1f} ms",
                flush=True,
            )


def _encode_many(work: tuple[str, int]) -> float:
    syntax, count = work
    d = PixelDescription(512, 512, 1, 16, 12, 0, "MONOCHROME2", 0, 1)
    natives = [one.tobytes() for one in corpus._pictures(np.random.default_rng(1))]
    encode_frame(natives[0], NATIVE, d, Target(syntax))
    begin = time.perf_counter()
    for number in range(count):
        encode_frame(natives[number % len(natives)], NATIVE, d, Target(syntax))
    return time.perf_counter() - begin


async def _stream(images: list[Any], syntax: str) -> tuple[float, float, float]:
    room = Pixels(Pool(2))
    await room.start()
    try:
        await asyncio.gather(*(_drain(room.instance(image, syntax)) for image in images[:4]))
        frames = []
        for image in images[4:24]:
            begin = time.perf_counter()
            await _drain(room.frames(image, [1], syntax))
            frames.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        first = 0.0
        async for chunks in in_order([partial(room.instance, image, syntax) for image in images], 4):
            async for _ in chunks:
                first = first or time.perf_counter() - begin
        return len(images) / (time.perf_counter() - begin), first, statistics.median(frames)
    finally:
        await room.stop()


async def _drain(chunks: Any) -> None:
    async for _ in chunks:
        pass


# --- Pictures ---------------------------------------------------------------------------------------------------------


def rendered() -> None:
    print("\na picture from native pixels, ms of processor (window, 64K table, JPEG of quality 90)")
    for picture, aim in zip(
        [next(p for p in pictures() if p.name == name) for name in ("CT", "DX")], (1.5, 30), strict=True
    ):
        native = picture.samples.tobytes()
        drawing = Drawing(window=Window(1000, 2000))
        artist = Artist(Item(), picture.description, drawing, floating=False)
        artist.draw([(1, native)])
        begin, rounds = time.process_time(), 20
        for _ in range(rounds):
            artist.draw([(1, native)])
        taken = (time.process_time() - begin) / rounds * 1e3
        size = f"{picture.description.columns} x {picture.description.rows}"
        print(f"{picture.name:4}{size:14}{taken:8.2f}   aim {aim:g}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instances", type=int, default=300, help="of the series that is made on both cores")
    parser.add_argument("--only", choices=("codecs", "series", "rendered"), help="one of the three parts")


def main(arguments: argparse.Namespace) -> int:
    if arguments.only in (None, "codecs"):
        codecs()
    if arguments.only in (None, "series"):
        series(arguments.instances)
    if arguments.only in (None, "rendered"):
        rendered()
    return 0
