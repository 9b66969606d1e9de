"""Storage Commitment Push Model: N-ACTION asks, N-EVENT-REPORT tells on the same association (PS3.4 annex J)."""

import asyncio
import logging
import secrets
from functools import partial
from typing import Final

from drimbox.dicom.command import N_EVENT_REPORT_RQ, Command, build_command
from drimbox.dicom.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    Report,
    build_report,
    read_request,
)
from drimbox.dicom.pdu import build_data
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.dicom_scp.link import Link
from drimbox.dicom_scp.messages import Message
from drimbox.dicom_scp.operation import Answer
from drimbox.dicom_scp.query import identifier_of
from drimbox.dicom_scp.status import NO_SUCH_ACTION, SUCCESS
from drimbox.errors import DrimboxError, NotFound
from drimbox.flows.commit import Commit, Owed
from drimbox.model import Credentials

log = logging.getLogger(__name__)

_ANSWER_S: Final = 60.0


class Reports:
    """The reports one association asked for, each with a task that looks and then tells.

    is_free: nothing of ours is half sent, so a report may be. What is not told when the association ends is told on
    another one, by `Commit.work`.
    """

    def __init__(self, link: Link, maximum_length: int) -> None:
        self.is_free = asyncio.Event()
        self._link = link
        self._maximum_length = maximum_length
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # one operation at a time is what was negotiated
        self._message_id = 0

    async def ask(self, message: Message, commit: Commit, credentials: Credentials) -> Answer:
        """Serve an N-ACTION. Raises NotFound, Malformed, TooLarge, NoSpace, Unavailable."""
        command, context = message.command, message.context
        if command.sop_uid != PUSH_MODEL_INSTANCE:
            raise NotFound("SOP instance", "not the well-known one of Storage Commitment")
        if command.type_id != REQUEST_COMMITMENT:
            return Answer(NO_SUCH_ACTION, "only Request Storage Commitment")
        request = await asyncio.to_thread(read_request, identifier_of(message), context.transfer_syntax)
        owed = await commit.ask(credentials, request)
        task = asyncio.create_task(self._serve(message, commit, owed), name="commitment")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Answer(SUCCESS)

    async def close(self) -> None:
        """The association has ended: leave what was not told to others."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, message: Message, commit: Commit, owed: Owed) -> None:
        is_told = False
        try:
            report = await commit.report(owed)
            async with self._turn:
                status = await self._tell(message, commit, report)
                await commit.told(owed, report, status, self._link.address)
                is_told = True
        except DrimboxError as refusal:
            log.warning("commitment_not_told", extra={"ae_title": owed.ae_title, "reason": str(refusal)})
        except TimeoutError:
            log.warning("commitment_not_told", extra={"ae_title": owed.ae_title, "reason": "no answer"})
        except Exception:
            log.exception("commitment_failed", extra={"incident": secrets.token_hex(4)})
        finally:
            if not is_told:
                await commit.release(owed)

    async def _tell(self, message: Message, commit: Commit, report: Report) -> int:
        """Send the report; the status of its answer."""
        while not self.is_free.is_set():
            await self.is_free.wait()
        context, assembly = message.context, self._link.assembly
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._message_id += 1
        if assembly is not None:
            assembly.reported[self._message_id] = partial(_set, answered)
        command = Command(
            N_EVENT_REPORT_RQ, self._message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE,
            has_data_set=True, type_id=report.event_type,
        )  # fmt: skip
        data_set = build_data_set(
            build_report(report, commit.settings.ae_title), TRANSFER_SYNTAXES[context.transfer_syntax]
        )
        pdus = [*build_data(message.context_id, build_command(command), True, self._maximum_length)]
        pdus += build_data(message.context_id, data_set, False, self._maximum_length)
        self._link.send(b"".join(pdus))
        async with asyncio.timeout(_ANSWER_S):
            return await answered


def _set(answered: "asyncio.Future[int]", status: int) -> None:
    if not answered.done():
        answered.set_result(status)
