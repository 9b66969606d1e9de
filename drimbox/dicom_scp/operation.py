"""A request that is answered several times, and may be cancelled meanwhile (PS3.7 §9.1.2, §9.3.2)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.command import C_CANCEL_RQ, C_STORE_RQ, RESPONSE, Command, SubOperations, build_command
from drimbox.dicom.pdu import build_data
from drimbox.dicom.uid import is_uid
from drimbox.dicom_scp.link import Event, Link
from drimbox.dicom_scp.messages import Message
from drimbox.errors import Unavailable

_MOST_PDUS: Final = 128
_LARGEST_MESSAGE_ID: Final = 0xFFFF
_NO_STATUS: Final = 0xC000  # of a response without one: not a success


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. data_set: encoded, empty for none."""

    status: int
    comment: str = ""
    sub_operations: SubOperations | None = None
    data_set: bytes = b""


class Operation:
    """What a service may do with the association while it performs `message`.

    maximum_length: of the P-DATA the other side receives.
    """

    def __init__(self, message: Message, link: Link, maximum_length: int) -> None:
        self.message = message
        self._link = link
        self._maximum_length = maximum_length
        self._is_cancelled = False
        self._stores = 0

    async def pend(self, answer: Answer) -> None:
        """Send a response that is not the last one, as soon as the other side reads."""
        self.respond(answer)
        await self._link.sent()
        await asyncio.sleep(0)  # else nothing is heard while everything is read at once

    def respond(self, answer: Answer) -> None:
        """Send a response."""
        command = self.message.command
        response = Command(
            command.field | RESPONSE,
            command.message_id,
            _echoed(command.sop_class_uid),
            _echoed(command.sop_uid),
            has_data_set=bool(answer.data_set),
            status=answer.status,
            error_comment=answer.comment,
            sub_operations=answer.sub_operations,
        )
        data = b"".join(build_data(self.message.context_id, build_command(response), True, self._maximum_length))
        if answer.data_set:
            data += b"".join(build_data(self.message.context_id, answer.data_set, False, self._maximum_length))
        self._link.send(data)

    async def is_cancelled(self) -> bool:
        """Did the other side take its question back, or end the association?

        Any other message is a breach of "one operation at a time": it waits until this one is over.
        """
        coming = self._link.expect()
        if coming.done() and not self._is_cancelled:
            event = coming.result()
            self._is_cancelled = event is None or self._is_cancel(event)
            if isinstance(event, Message) and event.command.field == C_CANCEL_RQ:
                await self._link.next()
        return self._is_cancelled

    def _is_cancel(self, event: Event) -> bool:
        if not isinstance(event, Message) or event.command.field != C_CANCEL_RQ:
            return False
        return event.command.message_id == self.message.command.message_id

    async def store(
        self, context_id: int, sop_class_uid: str, sop_uid: str, content: AsyncGenerator[bytes, None], size_bytes: int
    ) -> int:
        """A C-STORE of ours on this association (PS3.7 §9.1.3.2); its status. content: a data set of `size_bytes`.

        Raises Unavailable when the association ends meanwhile.
        """
        self._stores = self._stores % _LARGEST_MESSAGE_ID + 1
        command = Command(C_STORE_RQ, self._stores, sop_class_uid, sop_uid, has_data_set=True, priority=0)
        self._link.send(b"".join(build_data(context_id, build_command(command), True, self._maximum_length)))
        if self._link.assembly is not None:
            self._link.assembly.awaited = self._stores
        left = size_bytes
        try:
            async with aclosing(content) as chunks:
                async for chunk in chunks:
                    left -= len(chunk)
                    await self._send_chunk(context_id, chunk, is_last=not left)
                    if self._link.is_closing:
                        break
        finally:
            if left:
                self._link.abort("a data set that cannot be finished")
        return await self._response()

    async def _send_chunk(self, context_id: int, chunk: bytes, *, is_last: bool) -> None:
        """Some PDUs at a time: a maximum length of a few bytes must not keep the loop from everybody else."""
        step = _MOST_PDUS * self._maximum_length or len(chunk)
        for start in range(0, len(chunk), step):
            piece = chunk[start : start + step]
            ends = is_last and start + step >= len(chunk)
            self._link.send(b"".join(build_data(context_id, piece, False, self._maximum_length, is_last=ends)))
            await self._link.sent()
            await asyncio.sleep(0)
            if self._link.is_closing:
                return

    async def _response(self) -> int:
        while (event := await self._link.next()) is not None and isinstance(event, Message):
            if event.command.field == C_STORE_RQ | RESPONSE:
                return _NO_STATUS if event.command.status is None else event.command.status
            if event.command.field != C_CANCEL_RQ:
                event.discard()
                self._link.abort("a request during C-GET")
            self._is_cancelled = self._is_cancelled or self._is_cancel(event)
        raise Unavailable("association", "it ended before the sub-operation")


def _echoed(uid: str) -> str:
    """The UID of a request in its response: nothing, when it is not one."""
    return uid if is_uid(uid) else ""
