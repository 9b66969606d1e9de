"""A request that is answered several times, and may be cancelled meanwhile (PS3.7 §9.1.2, §9.3.2)."""

import asyncio
from dataclasses import dataclass

from drimbox.dicom.command import C_CANCEL_RQ, RESPONSE, Command, SubOperations, build_command
from drimbox.dicom.pdu import build_data
from drimbox.dicom.uid import checked_uid
from drimbox.dicom_scp.link import Link
from drimbox.dicom_scp.messages import Message
from drimbox.errors import Malformed


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
        if not coming.done():
            return False
        event = coming.result()
        if isinstance(event, Message) and event.command.field == C_CANCEL_RQ:
            await self._link.next()
            return event.command.message_id == self.message.command.message_id
        return event is None


def _echoed(uid: str) -> str:
    """The UID of a request in its response: nothing, when it is not one."""
    try:
        return checked_uid(uid)
    except Malformed:
        return ""
