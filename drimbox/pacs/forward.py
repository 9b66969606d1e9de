"""C-STORE sub-operations of a C-MOVE: one association to the destination, kept files as they are (PS3.4 §C.4.2)."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from drimbox.errors import Unavailable
from drimbox.pacs.store import MOST_CONTEXTS, associate
from drimbox.settings import Destination

_SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
_PROCESSING_FAILURE: Final = 0x0110


@dataclass(frozen=True)
class Forwarding:
    """An open association. calling, message_id: who asked for the C-MOVE, and in which message."""

    association: Any
    calling: str
    message_id: int

    async def send(self, path: Path) -> int:
        """Send a Part 10 file; the status of the C-STORE, or of its failure when there is none."""
        return await asyncio.to_thread(self._send, path)

    def _send(self, path: Path) -> int:
        try:
            status = self.association.send_c_store(path, originator_aet=self.calling, originator_id=self.message_id)
        except ValueError:  # the destination refused the context, or there were more kinds than contexts
            return _SOP_CLASS_NOT_SUPPORTED
        except (RuntimeError, AttributeError):  # the association is gone
            return _PROCESSING_FAILURE
        return int(status.Status) if "Status" in status else _PROCESSING_FAILURE


@asynccontextmanager
async def open_forwarding(
    destination: Destination, ae_title: str, kinds: Iterable[tuple[str, str]], calling: str, message_id: int
) -> AsyncIterator[Forwarding]:
    """An association to `destination`, released at the end. Raises Unavailable.

    kinds: SOP class and transfer syntax of what will be sent; past 128, the last ones are refused.
    """
    some = list(dict.fromkeys(kinds))[:MOST_CONTEXTS]
    association = await asyncio.to_thread(
        associate, some, destination.host, destination.port, ae_title, destination.ae_title
    )
    if not association.is_established:
        raise Unavailable("move destination", "no association: address, AE titles or load of the other end")
    try:
        yield Forwarding(association, calling, message_id)
    finally:
        await asyncio.to_thread(association.release)
