"""One association as SCU. pynetdicom speaks the Upper Layer; the thread, the deadlines and the memory are ours.

pynetdicom waits by blocking, so an association has a thread of its own, and time is kept outside of it: when it is up,
or when nobody waits any more, the connection is cut, which ends whatever the thread was waiting for.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom.association import Association as Established
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.transport import AssociationSocket

from drimbox.dicom.command import Command, build_command
from drimbox.dicom.pdu import build_data
from drimbox.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from drimbox.dicom.user_information import IdentityKind
from drimbox.errors import Unavailable
from drimbox.pacs.reader import keep_still
from drimbox.pacs.tunnel import tunnel
from drimbox.settings import Destination

T = TypeVar("T")

MOST_CONTEXTS: Final = 128  # PS3.8 §9.3.2.2: presentation context ids are the odd numbers of a byte
MAXIMUM_LENGTH: Final = 2**17
_ASSOCIATE_S: Final = 30.0
_RELEASE_S: Final = 10.0

# It would write queries and answers, thus names of patients, into its log.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False


class _Entity(AE):
    """An application entity for one association. wire: its socket; tunnel: the one it is to use, connected."""

    wire: socket.socket
    tunnel: socket.socket | None = None

    def _create_socket(self, assoc: Established, *words: Any, **named: Any) -> AssociationSocket:
        keep_still(assoc)
        made = super()._create_socket(assoc, *words, **named)
        if self.tunnel is not None:
            cast(socket.socket, made.socket).close()
            made.socket = cast(Any, _Tunnel(self.tunnel))
        else:
            cast(socket.socket, made.socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = cast(socket.socket, made.socket)
        return made


class _Tunnel:
    """A socket that is connected already, for a library that wants to do it, and to know its address."""

    def __init__(self, held: socket.socket) -> None:
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def connect(self, _place: object) -> None:
        """It is."""

    def getsockname(self) -> tuple[str, int]:
        """No address of ours means anything to the other end."""
        return "127.0.0.1", 0


class Association:
    """An established association, for one operation at a time.

    name: of the other end, for refusals. contexts: (SOP class, transfer syntax) -> context id.
    """

    def __init__(self, established: Established, wire: socket.socket, thread: ThreadPoolExecutor, name: str) -> None:
        self.established = established
        self.name = name
        self._wire = wire
        self._thread = thread
        self.contexts = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): int(context.context_id or 0)
            for context in established.accepted_contexts
        }

    async def call(self, work: Callable[[], T], seconds: float) -> T:
        """Run `work`, which blocks, on the association's thread. Raises Unavailable when it takes longer."""
        running = asyncio.wrap_future(self._thread.submit(work))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(running)
        except TimeoutError as error:
            raise Unavailable(self.name, f"no answer within {seconds:g} s") from error
        finally:
            if not running.done():
                self.cut()
                running.add_done_callback(_forget)

    def exchange(self, context_id: int, command: Command, data_set: Iterable[bytes]) -> int:
        """Send a request and its data set, in pieces as they come; the status of its response. Blocks: for `call`.

        pynetdicom's own way puts all PDUs of a data set in a queue, whole, and reads it from a whole file only. Its
        thread that reads is left alone, the one that would take the response for a request is kept still.
        """
        held = self.established
        length = int(held.acceptor.maximum_length or MAXIMUM_LENGTH)
        held._reactor_checkpoint.clear()
        try:
            for pdu in build_data(context_id, build_command(command), True, length):
                self._wire.sendall(pdu)
            for piece, is_last in _with_last(data_set):
                for pdu in build_data(context_id, piece, False, length, is_last=is_last):
                    self._wire.sendall(pdu)
            _acknowledge_at_once(self._wire)
            _, response = held.dimse.get_msg(block=True)
        except OSError as error:
            raise self.gone() from error
        finally:
            held._reactor_checkpoint.set()
        status = getattr(response, "Status", None)
        if status is None:
            raise self.gone()
        return int(status)

    def cut(self) -> None:
        """End the connection without a word; whoever waits for an answer hears that there is none. From any thread."""
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)

    def gone(self) -> Unavailable:
        """The refusal of whoever asked something of an association that is no more."""
        return Unavailable(self.name, "the association ended before the answer")


@asynccontextmanager
async def associated(
    place: Destination,
    calling: str,
    contexts: Iterable[tuple[str, Sequence[str]]],
    *,
    scp_of: Iterable[str] = (),
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
) -> AsyncIterator[Association]:
    """An association to `place`, released at the end, cut when the block raises. Raises Unavailable.

    contexts: abstract syntax and transfer syntaxes; those past 128 are not proposed. scp_of: the abstract syntaxes for
    which we propose the SCP role and no SCU role (PS3.7 annex D.3.3.4). handlers: of pynetdicom's events.
    """
    name = f"{place.ae_title} at {place.host}:{place.port}"
    negotiated: list[Any] = [build_role(abstract, scp_role=True) for abstract in scp_of]
    if place.user:
        negotiated.append(await asyncio.to_thread(_identity, place, name))
    async with contextlib.AsyncExitStack() as stack:
        wire = None if place.tls_ca is None else await stack.enter_async_context(tunnel(place, name))
        yield await stack.enter_async_context(_associated(place, calling, contexts, negotiated, handlers, name, wire))


@asynccontextmanager
async def _associated(
    place: Destination,
    calling: str,
    contexts: Iterable[tuple[str, Sequence[str]]],
    negotiated: list[Any],
    handlers: Sequence[tuple[Any, Callable[..., Any]]],
    name: str,
    wire: socket.socket | None,
) -> AsyncIterator[Association]:
    """See `associated`. negotiated: beside the contexts. wire: connected already, under TLS."""
    entity = _Entity(calling)
    entity.tunnel = wire
    entity.connection_timeout = entity.acse_timeout = _ASSOCIATE_S
    entity.dimse_timeout = entity.network_timeout = None  # see Association.call
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    proposed = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts][:MOST_CONTEXTS]
    thread = ThreadPoolExecutor(1, thread_name_prefix="pacs")

    def acknowledge(_event: object) -> None:
        _acknowledge_at_once(entity.wire)

    def open_() -> Established:
        return entity.associate(
            place.host,
            place.port,
            proposed,
            ae_title=place.ae_title,
            max_pdu=MAXIMUM_LENGTH,
            ext_neg=negotiated,
            evt_handlers=[*handlers, (evt.EVT_DATA_RECV, acknowledge), (evt.EVT_DATA_SENT, acknowledge)],
        )

    def close() -> None:
        """On the same thread, so after all that was asked for; and pynetdicom forgets sockets the other end closed."""
        established = opening.result()
        if established.is_established:
            established.abort()
        if established.dul.is_alive():
            established.dul.join(_RELEASE_S)
        entity.wire.close()

    opening = thread.submit(open_)
    try:
        try:
            established = await asyncio.wrap_future(opening)
        except OSError as error:
            raise Unavailable(name, "its name is not known") from error
        if not established.is_established:
            raise Unavailable(name, "no association: address, AE titles or load of the other end")
        association = Association(established, entity.wire, thread, name)
        try:
            yield association
        except BaseException:
            association.cut()
            raise
        if established.is_established:
            with contextlib.suppress(Unavailable):  # everything was said already
                await association.call(established.release, _RELEASE_S)
    finally:
        thread.submit(close)
        thread.shutdown(wait=False)


def _acknowledge_at_once(wire: socket.socket) -> None:
    """Have the kernel acknowledge what comes next without delay; it forgets that whenever something is sent.

    Many archives write a message in two pieces and hold the second one back until the first is acknowledged (Nagle):
    an instance sent or got costs 40 ms more then. No Linux, or no TCP: no need, or no way.
    """
    with contextlib.suppress(OSError, AttributeError):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _identity(place: Destination, name: str) -> UserIdentityNegotiation:
    """The user that the configuration names for `place`. Raises Unavailable."""
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = IdentityKind.NAME.value, place.user.encode("utf-8")
    if place.passcode_file is not None:
        try:
            first = place.passcode_file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
        except OSError as error:
            raise Unavailable(name, f"its passcode_file cannot be read (errno {error.errno})") from error
        item.user_identity_type, item.secondary_field = IdentityKind.NAME_AND_PASSCODE.value, first
    return item


def _with_last(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and is it the last one?"""
    left = iter(pieces)
    held = next(left, b"")
    for piece in left:
        yield held, False
        held = piece
    yield held, True


def _forget(running: "asyncio.Future[Any]") -> None:
    """Nobody waits for it any more; its error was told as `Unavailable`."""
    if not running.cancelled():
        running.exception()
