"""The program of a worker process: `python -m drimbox.pixels.worker CAPS`, its socket on standard input.

It says it is ready once the codecs are loaded and the rest of the machine is out of reach, then does one job after the
other. It ends when the node does, whatever it is doing: the socket hangs up.
"""

import json
import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Thread

from drimbox.dicom.checksum import crc32
from drimbox.dicom.data_set import DataSet, open_data_set
from drimbox.dicom.elements import PIXEL_DATA, PIXELS, UNDEFINED, Event, Limits
from drimbox.dicom.frames import Geometry
from drimbox.dicom.part10 import Readable
from drimbox.errors import Corrupt, DrimboxError, NotAcceptable, NotFound, TooLarge
from drimbox.model import Span
from drimbox.pixels.bits import cut_bits
from drimbox.pixels.confine import confine, confine_time
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import (
    DESCRIBING,
    DescriptionReader,
    PixelDescription,
    checked_description,
    native_photometric,
)
from drimbox.pixels.draw import Artist, load, stand_in
from drimbox.pixels.drawing import Drawing
from drimbox.pixels.encode import encode_frame
from drimbox.pixels.header import Item, read_header
from drimbox.pixels.kept_file import KeptFile
from drimbox.pixels.plan import Target, is_native
from drimbox.pixels.protocol import (
    LENGTH,
    Caps,
    Job,
    Made,
    build_answer,
    build_outline,
    build_refusal,
    read_request,
)
from drimbox.pixels.transcode import pixel_word_bytes, rewrite, swapped

_MOST_REMEMBERED = 64
_MOST_HEADERS = 4  # each up to 64 MiB


@dataclass(frozen=True, slots=True)
class _Image:
    """What is remembered of a file. has_integers: its pixels are Pixel Data, not Float Pixel Data or none.

    The last three, of native pixels only: their element.
    """

    description: PixelDescription
    has_integers: bool
    vr: str = ""
    offset: int = 0
    length: int = 0


class Worker:
    """Does jobs. Remembers the last images: a loop of frames reads their header once."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._images: dict[str, _Image] = {}
        self._headers: dict[str, Item] = {}

    def do(self, file: KeptFile, job: Job) -> Made:
        """Answer, or raise a leaf of errors.py."""
        if job.drawing is not None and job.sign is not None:
            return Made({}, [stand_in(job.drawing, job.sign)])
        data_set = open_data_set(file, Limits(), DESCRIBING)
        if data_set.syntax.uid != job.transfer_syntax:
            raise Corrupt("kept file", "its transfer syntax is not the one that was kept")
        target = Target(job.target, job.lossy)
        if job.kind == "instance":
            return self._instance(file, data_set, job, target)
        if job.drawing is not None:
            return self._draw(file, data_set, job, job.drawing)
        image = self._image(data_set, job)
        frames: list[bytes | memoryview] = []
        size = 0
        for frame_number, spans in zip(job.frame_numbers, job.spans, strict=True):
            try:
                frame = self._make(data_set, image, target, frame_number, spans)
            except DrimboxError:
                if frames:
                    break  # those before it are good; the next job begins with it
                raise
            frames.append(frame)
            size += len(frame)
            if size >= self._caps.answer_bytes:
                break
        return Made({}, frames)

    def _draw(self, file: KeptFile, data_set: DataSet, job: Job, drawing: Drawing) -> Made:
        image = self._image(data_set, job)
        d = image.description
        native = replace(d, photometric=native_photometric(d.photometric, data_set.syntax.uid))
        header = self._headers.get(job.digest)
        if header is None:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            header = self._headers[job.digest] = read_header(open_data_set(file, Limits()))
        artist = Artist(header, native, drawing, floating=not image.has_integers)
        frames = (
            (number, self._frame(data_set, image, number, spans))
            for number, spans in zip(job.frame_numbers, job.spans, strict=True)
        )
        return Made({}, [artist.draw(frames)])

    def _instance(self, file: KeptFile, data_set: DataSet, job: Job, target: Target) -> Made:
        """Its outline. The one frame of an encoded instance comes with it: a study is mostly such instances."""
        frame: list[bytes | memoryview] = []
        sizes = job.sizes
        if not is_native(target):
            image = self._image(data_set, job)
            count = image.description.number_of_frames
            if sizes is None and count == 1:
                frame = [self._make(data_set, image, target, 1, job.spans[0])]
                sizes = [len(frame[0])]
            elif sizes is None or (sizes and len(sizes) != count):
                return Made({"needs_frames": count}, [])
        outline = build_outline(rewrite(file, self._caps.frame_bytes, target, sizes or ()))
        return Made(outline.facts, [*outline.parts, *frame])

    def _make(
        self, data_set: DataSet, image: _Image, target: Target, number: int, spans: Sequence[Span]
    ) -> bytes | memoryview:
        native = self._frame(data_set, image, number, spans)
        if is_native(target):
            return native
        return encode_frame(native, data_set.syntax.uid, image.description, target)

    def _image(self, data_set: DataSet, job: Job) -> _Image:
        image = self._images.get(job.digest) or self._remember(job.digest, data_set)
        if not is_native(Target(job.target)) and not image.has_integers:
            raise NotAcceptable("image", "it has no integer pixels to encode")
        return image

    def _remember(self, digest: str, data_set: DataSet) -> _Image:
        description = DescriptionReader()
        pixels: Event | None = None
        for event in data_set.reader:
            level, tag, _, offset, length = event
            if level == 0 and not description.note(data_set.reader, tag, offset, length) and tag in PIXELS:
                pixels = event
                break
        native = pixels if pixels and not data_set.syntax.encapsulated else None
        image = _Image(
            checked_description(description.result(), self._caps.frame_bytes),
            pixels is not None and pixels[1] == PIXEL_DATA,
            *(native or ())[2:],
        )
        if len(self._images) >= _MOST_REMEMBERED:
            self._images.clear()
        self._images[digest] = image
        return image

    def _frame(self, data_set: DataSet, image: _Image, frame_number: int, spans: Sequence[Span]) -> bytes | memoryview:
        if sum(span.length for span in spans) > self._caps.frame_bytes:
            raise TooLarge("frame", f"at most {self._caps.frame_bytes} bytes are decoded")
        stored = b"".join(_read_span(data_set.source, span) for span in spans)
        if not data_set.syntax.encapsulated:
            if spans and data_set.syntax.little_endian:
                return stored  # read and checked already
            return _cut_native(data_set, image, frame_number)
        if not spans:
            raise NotFound("frame", f"frame {frame_number} is not there, or cannot be told from the others")
        return decode_frame(stored, data_set.syntax.uid, image.description)


def _read_span(source: Readable, span: Span) -> bytes:
    content = source.read_at(span.offset, span.length)
    if len(content) != span.length or crc32(content) != span.crc32:
        raise Corrupt("frame", "its bytes are not those that were kept")
    return content


def _cut_native(data_set: DataSet, image: _Image, frame_number: int) -> bytes:
    """Cut one frame out of native pixels, at the bit, its words in little endian order.

    Words of big endian count from the start of the value: an odd frame of bytes in OW needs the byte beside it
    (PS3.5 §8.1.1, annex D).
    """
    d = image.description
    if not image.vr or not 1 <= frame_number <= d.number_of_frames:
        raise NotFound("frame", f"the instance has no frame {frame_number}")
    bits = Geometry(d.rows, d.columns, d.samples, d.bits_allocated, d.photometric).bits_per_frame
    first_bit = (frame_number - 1) * bits
    if image.length == UNDEFINED or first_bit + bits > image.length * 8:
        raise NotAcceptable("frame", "there are fewer pixels than declared; ask for the stored syntax")
    word_bytes = 1 if data_set.syntax.little_endian else pixel_word_bytes(image.vr, d.bits_allocated)
    first = first_bit // 8
    end = (first_bit + bits + 7) // 8
    before = first % word_bytes
    aligned = -(-end // word_bytes) * word_bytes - first + before
    window = swapped(data_set.source.read_at(image.offset + first - before, aligned), word_bytes)[before:]
    if len(window) < end - first:
        raise NotAcceptable("frame", "its pixels are cut; ask for the stored syntax")
    return cut_bits(window, first_bit % 8, bits)


def _end_with_node(connection: socket.socket) -> None:
    """Leave at once when the node hangs up, be it killed: a decoder at work would not notice."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _receive(connection: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        piece = connection.recv(min(length - len(content), 2**20))
        if not piece:
            os._exit(0)
        content += piece
    return bytes(content)


def serve(connection: socket.socket, caps: Caps) -> None:
    """Do jobs until the node hangs up."""
    worker = Worker(caps)
    connection.sendall(build_answer(Made({}, [])))
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 1)
        if not head or not descriptors:
            os._exit(0)
        head += _receive(connection, LENGTH.size - len(head))
        job = read_request(_receive(connection, LENGTH.unpack(head)[0]))
        confine_time(time.process_time(), caps.cpu_s)
        parts: Sequence[bytes | memoryview] = ()
        try:
            answer = worker.do(KeptFile(descriptors[0], job.offset, job.size_bytes), job)
            header, parts = build_answer(answer), answer.parts
        except DrimboxError as refusal:
            header = build_refusal(type(refusal).__name__, refusal.what, refusal.why, refusal.detail)
        except MemoryError:
            header = build_refusal(NotAcceptable.__name__, "image", "it needs more memory than a decoder is given")
        except Exception:  # the outermost loop: the node raises it as a bug, with an incident number
            header = build_refusal("", "pixel worker", "", traceback.format_exc()[-4000:])
        finally:
            os.close(descriptors[0])
        connection.sendall(header)
        for part in parts:
            connection.sendall(part)


def main() -> None:
    """Load, confine, serve."""
    caps = Caps(**json.loads(sys.argv[1]))
    connection = socket.socket(fileno=0)
    Thread(target=_end_with_node, args=(connection,), daemon=True).start()
    load()
    confine(caps.memory_bytes)
    serve(connection, caps)


if __name__ == "__main__":
    main()
