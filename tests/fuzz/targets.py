"""What a fuzzer calls: bytes in, an answer or a refusal out. Anything else that is raised is a find.

Beside "it does not fail", each target holds what must be true of an answer: spans lie in the file, JSON can be written,
work is in proportion to what came.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from drimbox.dicom.command import C_STORE_RQ, Command, build_command, read_command
from drimbox.dicom.commitment import PUSH_MODEL, read_request
from drimbox.dicom.elements import Limits
from drimbox.dicom.identifier import build_answer, build_search, build_selection, read_identifier
from drimbox.dicom.json_model import find_bulkdata, read_metadata
from drimbox.dicom.part10 import InMemory, build_preface, read_preface
from drimbox.dicom.pdu import (
    AssociateRequest,
    Pdu,
    ProposedContext,
    build_associate_accept,
    build_associate_request,
    build_data,
    build_release_request,
    read_associate_accept,
    read_associate_request,
)
from drimbox.dicom.scan import scan
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.user_information import UserInformation
from drimbox.dicom.writing import build_data_set
from drimbox.dicom_scp.framing import Breach, Framing, State
from drimbox.dicom_scp.messages import Assembly, Message
from drimbox.dicom_scp.negotiation import Context, answer
from drimbox.errors import DrimboxError
from drimbox.kos.read import read_manifest
from fuzz.document_targets import DOCUMENT_TARGETS, document_seeds
from fuzz.web_targets import WEB_TARGETS, web_seeds

LIMITS = Limits(max_elements=20_000, max_fragments=2000, max_inflated_bytes=2**22)
SYNTAXES = sorted(TRANSFER_SYNTAXES)
CT, STUDY_FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT = "1.2.840.10008.1.2.1"
DATA = Path(__file__).resolve().parents[1] / "data"


class Counting(InMemory):
    """It knows how many bytes were read of it, and how often."""

    read = calls = 0

    def read_at(self, offset: int, length: int) -> bytes:
        found = super().read_at(offset, length)
        self.read += len(found)
        self.calls += 1
        return found


def a_file(content: bytes) -> None:
    """A Part 10 file, or what pretends to be one."""
    source = Counting(content)

    def frames() -> None:
        summary = scan(source, LIMITS)
        orjson.dumps([summary.study, summary.series, summary.instance])
        for span in summary.spans:
            assert span.offset >= 0 and span.offset + span.length <= len(content)
        numbers = [span.frame_number for span in summary.spans]
        assert numbers == sorted(numbers)

    _each(
        lambda: read_preface(source),
        frames,
        lambda: list(read_metadata(source, "http://box/bulk", LIMITS)),
        lambda: find_bulkdata(source, "00400275/0/00100010", LIMITS),
        lambda: find_bulkdata(source, "7FE00010", LIMITS),
        lambda: read_manifest(content),
    )
    # Each reader goes once over what it reads, in windows that may overlap; a deflated data set grows before.
    assert source.read <= 40 * len(content) + 2**21, f"{source.read} bytes read of {len(content)}"


def a_data_set(content: bytes) -> None:
    """A data set as C-STORE brings it, in the transfer syntax of the first byte."""
    syntax = SYNTAXES[content[0] % len(SYNTAXES)] if content else EXPLICIT
    a_file(build_preface(CT, "1.2.3", syntax) + content[1:])


def an_identifier(content: bytes) -> None:
    """The Identifier of a C-FIND or the information of an N-ACTION; the first byte tells transfer syntax and model."""
    choice = content[0] if content else 0
    syntax = ("1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2")[choice % 3]
    root = "patient" if choice & 128 else "study"
    try:
        identifier = read_identifier(content[1:], syntax, root)  # type: ignore[arg-type]
    except DrimboxError:
        identifier = None
    _each(lambda: read_request(content[1:], syntax))
    if identifier is None:
        return
    build_answer(identifier, {}, "BOX", TRANSFER_SYNTAXES[syntax])
    _each(lambda: build_search(identifier, 5), lambda: build_selection(identifier, root, 5))  # type: ignore[arg-type]


def a_negotiation(content: bytes) -> None:
    """The body of an A-ASSOCIATE-RQ; what can be read can be answered."""
    _each(lambda: read_associate_accept(content), lambda: read_command(content))
    try:
        request = read_associate_request(content)
    except DrimboxError:
        return
    accept, contexts = answer(request, 131072)
    assert len(accept.contexts) == len(request.contexts)
    assert contexts.keys() <= {context.id for context in request.contexts}
    read_associate_accept(build_associate_accept(accept)[6:])


class _Spool:
    def __init__(self) -> None:
        self.size = 0
        self.is_discarded = False

    def write(self, view: memoryview) -> None:
        assert not self.is_discarded
        self.size += len(view)

    def discard(self) -> None:
        self.is_discarded = True


class _Heard:
    """The sink of a framing whose messages are put together. It stops after each message, as the link does."""

    def __init__(self) -> None:
        self.spools: list[_Spool] = []
        self.messages: list[Message] = []
        kinds = (CT, STUDY_FIND, "1.2.840.10008.1.1", PUSH_MODEL)
        contexts = {2 * at + 1: Context(kind, EXPLICIT) for at, kind in enumerate(kinds)}
        self.assembly = Assembly(contexts, self._open)  # type: ignore[arg-type]

    def _open(self, *_: str) -> _Spool:
        self.spools.append(_Spool())
        return self.spools[-1]

    def pdu(self, kind: Pdu, body: bytes) -> bool:
        return False

    def fragment(self, context_id: int, control: int, piece: memoryview, is_whole: bool) -> bool:
        message = self.assembly.add(context_id, control, piece, is_whole)
        if message is not None:
            self.messages.append(message)
        return message is None


def a_stream(content: bytes) -> None:
    """What comes on an open association, cut into segments of the length of the first byte: the same comes out."""
    step = (content[0] if content else 0) or 256
    whole, cut = _listen(content[1:], len(content) + 1), _listen(content[1:], step)
    assert whole == cut


def _listen(stream: bytes, step: int) -> tuple[list[tuple[int, int, int]], str]:
    """Messages by field, number and bytes stored; and how it ended."""
    framing, heard, start, ending = Framing(131072), _Heard(), 0, ""
    framing.state = State.ASSOCIATED
    view = memoryview(stream)
    try:
        while start < len(stream):
            segment = view[start : start + step]
            done = framing.feed(segment, heard)
            assert done > 0
            start += done
    except Breach as breach:
        ending = breach.why
    heard.assembly.discard()
    sizes = iter(heard.spools)
    found = []
    for message in heard.messages:
        stored = next(sizes).size if message.spool is not None else 0
        found.append((message.command.field, message.command.message_id, stored))
    return found, ending


def _each(*calls: Callable[[], object]) -> None:
    """Each may refuse, none may fail."""
    for call in calls:
        try:
            call()
        except DrimboxError:
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "file": a_file,
    "data-set": a_data_set,
    "identifier": an_identifier,
    "negotiation": a_negotiation,
    "stream": a_stream,
    **WEB_TARGETS,
    **DOCUMENT_TARGETS,
}


def seeds(target: str) -> Iterator[bytes]:
    """Where a fuzzer begins."""
    if target in WEB_TARGETS:
        yield from web_seeds(target)
    if target in DOCUMENT_TARGETS:
        yield from document_seeds(target)
    match target:
        case "file" | "data-set":
            for path in sorted([*DATA.glob("broken/*.dcm"), *DATA.glob("kos/*.dcm")]):
                content = path.read_bytes()
                if target == "file":
                    yield content
                    continue
                try:
                    preface = read_preface(InMemory(content))
                    syntax, start = preface.transfer_syntax, preface.data_set_offset
                except DrimboxError:
                    syntax, start = EXPLICIT, 0
                number = SYNTAXES.index(syntax) if syntax in SYNTAXES else 0
                yield bytes([number]) + content[start:]
        case "identifier":
            keys = {
                "00080005": {"vr": "CS", "Value": ["ISO 2022 IR 6", "ISO 2022 IR 87"]},
                "00080018": {"vr": "UI", "Value": ["1", "2"]},
                "00080020": {"vr": "DA", "Value": ["20260101-20260301"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Zo*", "Ideographic": "?"}]},
                "0020000D": {"vr": "UI", "Value": ["1.2"]},
                "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP*"]}}]},
            }
            for number, level in enumerate(("PATIENT", "STUDY", "SERIES", "IMAGE")):
                keys["00080052"] = {"vr": "CS", "Value": [level]}
                written = build_data_set(keys, TRANSFER_SYNTAXES[("1.2.840.10008.1.2", EXPLICIT)[number % 2]])
                yield bytes([128 + number % 2]) + written
        case "negotiation":
            contexts = (ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, STUDY_FIND, (EXPLICIT, "1.2.3")))
            for window in (None, (1, 1)):
                user = UserInformation(16384, "1.2.3", "SEED", window)
                yield build_associate_request(AssociateRequest("BOX", "SEED", contexts, user))[6:]
        case "stream":
            store = build_command(Command(C_STORE_RQ, 1, CT, "1.2.3", has_data_set=True, priority=0))
            echo = build_command(Command(0x0030, 2, "1.2.840.10008.1.1"))
            for maximum in (30, 131072):
                pdus = [*build_data(1, store, True, maximum), *build_data(1, b"x" * 99, False, maximum)]
                pdus += [*build_data(5, echo, True, maximum), build_release_request()]
                yield bytes([7]) + b"".join(pdus)
