"""One message to the DMP and its answer: assertion, envelope, packing, mutual TLS, and what came back.

Each message is built anew: the assertion and the message id expire, what they carry does not change.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar
from uuid import uuid4

from lxml import etree

from drimbox.dmp.signer import Signer, read_signer
from drimbox.dmp.structures import find_structure, named_as
from drimbox.dmp.vihf import Mode, Speaker, build_vihf
from drimbox.egress import Answer as HttpAnswer
from drimbox.egress import Egress, Identity
from drimbox.errors import Denied, Malformed, TooLarge, Unavailable
from drimbox.model import Identifier
from drimbox.settings import Dmp, DmpStructure
from drimbox.xds.mtom import build_mtom
from drimbox.xds.soap import Answer, Fault, build_envelope, read_answer

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Clock(Protocol):
    """What the module `drimbox.clock` gives."""

    def now(self) -> datetime:
        """The date and time, aware."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks, about which patient, with the certificates of which structure."""

    speaker: Speaker
    ins: Identifier
    structure: DmpStructure
    mode: Mode
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A message ready to go. message_id: what the answer must relate to."""

    url: str
    identity: Identity
    message_id: str
    content_type: str
    content: bytes = field(repr=False)


class Exchange:
    """Speaks for each of the structures in the settings."""

    def __init__(self, settings: Dmp, egress: Egress, clock: Clock) -> None:
        self._settings = settings
        self._egress = egress
        self._clock = clock
        self._signers: dict[str, tuple[int, Signer]] = {}

    def caller(
        self, speaker: Speaker, ins: Identifier | None, mode: Mode, structure: str = "", secret: bool = False
    ) -> Caller:
        """Who will speak. structure: its id, else that of the speaker.

        Raises Malformed without INS, Denied when no certificate speaks for the structure.
        """
        if ins is None:
            raise Malformed("patient", "no INS")
        known = find_structure(self._settings.structures, structure or speaker.structure.id.value)
        return Caller(Speaker(speaker.professional, named_as(speaker.structure, known)), ins, known, mode, secret)

    def request(
        self,
        url: str,
        action: str,
        body: etree._Element,
        caller: Caller,
        documents: Mapping[str, bytes] | None = None,
    ) -> Request:
        """Assertion, envelope and packing: a few milliseconds, to be done off the loop. documents: by Content-ID.

        Raises Malformed when the speaker lacks what the VIHF requires, Unavailable without an address or a usable
        certificate.
        """
        if not url:
            raise Unavailable("DMP", "its address is not configured")
        structure = caller.structure
        message_id = f"urn:uuid:{uuid4()}"
        assertion = build_vihf(
            caller.speaker,
            caller.ins,
            self._settings.software,
            self.signer(structure),
            assertion_id=f"_{uuid4()}",
            now=self._clock.now(),
            mode=caller.mode,
            secret=caller.secret,
            algorithm=self._settings.vihf_algorithm,
        )
        content = build_envelope(body, action=action, to=url, message_id=message_id, assertion=assertion)
        content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
        if documents:
            content_type, content = build_mtom(content, documents, action=action, boundary=f"drimbox-{uuid4().hex}")
        identity = Identity(structure.tls_certificate, structure.tls_key, self._settings.ca)
        return Request(url, identity, message_id, content_type, content)

    def signer(self, structure: DmpStructure) -> Signer:
        """The signer of a structure, loaded again when its files change. Raises Unavailable."""
        try:
            files = structure.sign_certificate, structure.sign_key
            written = max(file.stat().st_mtime_ns for file in files)
            kept = self._signers.get(structure.id)
            if kept is None or kept[0] != written:
                kept = (written, read_signer(files[0].read_bytes(), files[1].read_bytes()))
                self._signers[structure.id] = kept
        except (OSError, Malformed) as error:
            raise Unavailable("signing certificate", "it cannot be used: see dmp.structures") from error
        return kept[1]

    async def send(self, request: Request, max_bytes: int) -> Answer | Fault:
        """Send, and read the SOAP answer. Whatever is not one is Unavailable: the outcome is then unknown."""
        try:
            answer = await self._egress.post(
                request.url,
                content=request.content,
                headers={"Content-Type": request.content_type, "Accept": "application/soap+xml, multipart/related"},
                identity=request.identity,
                timeout_s=self._settings.timeout_s,
                max_bytes=max_bytes,
            )
        except (Denied, Malformed) as error:
            raise Unavailable("DMP", f"its address is not usable: {error}") from error
        return await asyncio.to_thread(_read_http, answer, request.message_id)


def _read_http(answer: HttpAnswer, message_id: str) -> Answer | Fault:
    """SOAP 1.2 part 2 §7.5.1.2: a fault travels with 400 or 500, anything else that is not 200 is no SOAP answer."""
    if answer.status not in (200, 400, 500):
        raise Unavailable("DMP", f"HTTP status {answer.status}")
    try:
        read = read_answer(answer.headers.get("content-type", ""), answer.content, message_id)
    except (Malformed, TooLarge) as error:
        raise Unavailable("DMP", f"HTTP status {answer.status}, and no SOAP answer we can read: {error}") from error
    if answer.status != 200 and not isinstance(read, Fault):
        raise Unavailable("DMP", f"HTTP status {answer.status}")
    return read


def understood(read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Read a part of an answer; what cannot be read is an unknown outcome, never our refusal."""
    try:
        return read(*args, **kwargs)
    except (Malformed, TooLarge) as error:
        raise Unavailable("DMP", f"its answer cannot be read: {error}") from error
