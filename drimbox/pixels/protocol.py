"""What the node and a worker say to each other over their socket.

A request is a length, a pickled job, and the kept file as an open descriptor; an answer is a length, a JSON header,
and raw bytes. JSON and not pickle that way: a worker whose codec was taken over must not be able to run code in the
node.
"""

import json
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from drimbox.errors import leaves
from drimbox.model import Span
from drimbox.pixels.drawing import Drawing, Sign
from drimbox.pixels.transcode import Copy, Frames, Segment

LENGTH: Final = struct.Struct("!I")
MOST_HEADER_BYTES: Final = 64 * 2**20

Kind = Literal["frames", "instance", "picture"]

_LEAVES = {leaf.__name__: leaf for leaf in leaves()}


@dataclass(frozen=True, slots=True)
class Caps:
    """What one worker may use, and how big one frame may be.

    memory_bytes: of address space, where a codec needs a few times its frame. cpu_s and job_s: for one job, the first
    enforced by the kernel, the second, of wall clock, by the node. answer_bytes: no frame is added to an answer that
    has as many already.
    """

    frame_bytes: int = 512 * 2**20
    memory_bytes: int = 3 * 2**30
    cpu_s: int = 30
    job_s: float = 60
    answer_bytes: int = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Job:
    """One request. `frames`: make these; `instance`: tell how it is rewritten, with its frame if it has but one;
    `picture`: draw these frames as `drawing` says.

    target, lossy: what to make of it. transfer_syntax: the one it is kept in; offset, size_bytes: of the instance in
    the open file; digest: in hex. spans: of each frame of `frame_numbers`, in the same order. sizes: of all its frames
    once encoded; empty: never to be known; None: not known yet, and then the answer may be that they are needed.
    """

    kind: Kind
    target: str
    lossy: bool
    transfer_syntax: str
    offset: int
    size_bytes: int
    digest: str
    frame_numbers: Sequence[int] = ()
    spans: Sequence[Sequence[Span]] = ()
    sizes: Sequence[int] | None = None
    drawing: Drawing | None = None

    @property
    def sign(self) -> Sign | None:
        """What is drawn without a look at the instance."""
        return self.drawing.sign if self.drawing else None


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker has to say: facts, and parts, which may be the memory a codec wrote them to."""

    facts: dict[str, Any]
    parts: Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Answer:
    """The same once it came: facts, and bytes in parts."""

    facts: dict[str, Any]
    parts: list[bytes]


def build_request(job: Job) -> bytes:
    """A request, to be sent behind its length."""
    return pickle.dumps(job, pickle.HIGHEST_PROTOCOL)


def read_request(request: bytes) -> Job:
    """The job a request asks for. The node wrote it: it is believed."""
    job: Job = pickle.loads(request)  # noqa: S301 - never what a worker wrote
    return job


def build_answer(answer: Made) -> bytes:
    """The head of an answer, length included; its parts follow as they are."""
    return _framed({"facts": answer.facts, "sizes": [len(part) for part in answer.parts]})


def build_refusal(leaf: str, what: str, why: str, detail: str = "") -> bytes:
    """An answer that is a leaf of errors.py, by name; no name is a bug."""
    return _framed({"refusal": leaf, "what": what, "why": why, "detail": detail})


def _framed(header: dict[str, Any]) -> bytes:
    content = json.dumps(header, separators=(",", ":")).encode()
    return LENGTH.pack(len(content)) + content


def read_answer_header(header: bytes) -> tuple[dict[str, Any], list[int]]:
    """The facts of an answer and the sizes of its parts. Raises the leaf it carries; RuntimeError for a bug.

    Nothing in it is believed: a worker may have been taken over by what it decoded.
    """
    fields = json.loads(header)
    if "refusal" in fields:
        leaf = _LEAVES.get(str(fields["refusal"]))
        if leaf is None:
            raise RuntimeError(str(fields.get("detail")))
        raise leaf(str(fields["what"]), str(fields["why"]), detail=str(fields["detail"]))
    sizes = [int(size) for size in fields["sizes"]]
    if any(size < 0 for size in sizes):
        raise ValueError("a part of negative size")
    return dict(fields["facts"]), sizes


def build_outline(segments: Sequence[Segment]) -> Made:
    """The segments of an instance as an answer: bytes are parts, the others facts."""
    order: list[list[Any]] = []
    parts: list[bytes] = []
    for segment in segments:
        match segment:
            case bytes():
                order.append(["bytes"])
                parts.append(segment)
            case Copy(offset, length, word_bytes):
                order.append(["copy", offset, length, word_bytes])
            case Frames(count, frame_bits):
                order.append(["frames", count, frame_bits])
    return Made({"order": order}, parts)


def read_outline(answer: Answer) -> list[Segment]:
    """The segments again."""
    parts = iter(answer.parts)
    segments: list[Segment] = []
    for kind, *numbers in answer.facts["order"]:
        match kind:
            case "bytes":
                segments.append(next(parts))
            case "copy":
                segments.append(Copy(*map(int, numbers)))
            case "frames":
                segments.append(Frames(*map(int, numbers)))
    return segments
