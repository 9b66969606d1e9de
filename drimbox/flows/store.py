"""A program sends instances over HTTP (STOW-RS). Each is answered for by itself, and only once it is durable."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import Limits
from drimbox.dicom.part10 import MOST_PREFACE_BYTES, PREAMBLE_BYTES, PREFIX, InMemory, Preface, read_preface
from drimbox.dicom.scan import Summary
from drimbox.dicom.uid import checked_uid, is_storage
from drimbox.errors import Conflict, DrimboxError, Malformed, NotAcceptable
from drimbox.flows.ingest import Ingest, SetAside, Spool
from drimbox.model import Credentials, InstanceRef, Reader

HEAD_BYTES: Final = PREAMBLE_BYTES + len(PREFIX) + MOST_PREFACE_BYTES
"""What must be there before `Arriving.open`, unless the instance is shorter."""

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one instance. ref: None when it was refused; failure: why, then.

    sop_class_uid, sop_uid: as far as they could be read. set_aside: durable, and not shown: the UID is kept with other
    bytes.
    """

    sop_class_uid: str = ""
    sop_uid: str = ""
    ref: InstanceRef | None = None
    failure: DrimboxError | None = None
    set_aside: bool = False


@dataclass(frozen=True)
class Store:
    """Take instances in, by the same way as a C-STORE."""

    ingest: Ingest

    async def begin(self, credentials: Credentials, study_uid: str) -> Reader:
        """Admit whoever sends, before anything is read. study_uid: empty when any study may come.

        Raises Denied, Unidentified.
        """
        return await self.ingest.admit(credentials, "store", study_uid, "STOW-RS began")

    async def end(self, reader: Reader, results: list[Result]) -> None:
        """Trace what came."""
        failed = sum(result.failure is not None for result in results)
        await self.ingest.finished(reader, len(results) - failed, failed)

    def arriving(self, study_uid: str) -> "Arriving":
        """An instance whose bytes will come. study_uid: of the only study it may be of, else empty."""
        return Arriving(self.ingest, study_uid)

    async def composed(self, names: Preface, data_set: bytes, study_uid: str) -> Result:
        """Keep an instance that came as metadata and bulk data."""
        arriving = self.arriving(study_uid)
        arriving.announce(names)
        await asyncio.to_thread(arriving.write, data_set)
        return await arriving.finish()


class Arriving:
    """One instance on its way in. What is wrong with it is told by `finish`; nothing else raises.

    failure: what was found wrong so far.
    """

    def __init__(self, ingest: Ingest, study_uid: str) -> None:
        self.failure: DrimboxError | None = None
        self._ingest = ingest
        self._study_uid = study_uid
        self._head = bytearray()
        self._names = Preface("", "", "", 0)
        self._spool: Spool | None = None

    def feed(self, view: bytes | memoryview) -> None:
        """More bytes of the file. The preface is replaced by ours: a preamble that is also a program is lost."""
        if self.failure is None and self._spool is None:
            self._head += view
            if len(self._head) >= HEAD_BYTES:
                self._open()
        else:
            self.write(view)

    def write(self, view: bytes | memoryview) -> None:
        """More bytes of the data set."""
        if self.failure is not None or self._spool is None:
            return
        try:
            self._spool.write(view)
        except DrimboxError as error:
            self._fail(error)

    def announce(self, names: Preface) -> None:
        """What the preface says, or would say: the data set must agree."""
        self._names = names
        try:
            if not is_storage(names.sop_class_uid):
                raise NotAcceptable("SOP class", "not one that is stored")
            self._spool = self._ingest.open(names.sop_class_uid, names.sop_uid, names.transfer_syntax)
        except DrimboxError as error:
            self._fail(error)

    def _open(self) -> None:
        head, self._head = bytes(self._head), bytearray()
        try:
            preface = read_preface(InMemory(head))
            names = preface if preface.sop_class_uid and preface.sop_uid else _named(preface, head)
        except DrimboxError as error:
            self._fail(error)
            return
        self.announce(names)
        self.write(memoryview(head)[preface.data_set_offset :])

    async def finish(self) -> Result:
        """All bytes came: keep it. Returns once it is durable, or refused."""
        if self.failure is None and self._spool is None:
            self._open()
        spool, self._spool = self._spool, None
        names = self._names.sop_class_uid, self._names.sop_uid
        if spool is None or self.failure is not None:
            return Result(*names, failure=self.failure or Malformed("instance", "empty"))
        try:
            outcome = await self._ingest.instance(spool, self._expected)
        except DrimboxError as error:
            return Result(*names, failure=error)
        return Result(*names, outcome.ref, set_aside=isinstance(outcome, SetAside))

    def _expected(self, summary: Summary) -> None:
        if self._study_uid not in ("", summary.ref.study_uid):
            raise Conflict("instance", "of another study than the URL names")

    def _fail(self, error: DrimboxError) -> None:
        self.failure = error
        self.discard()

    def discard(self) -> None:
        """Forget what came. Safe to call at any time."""
        self._head.clear()
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.discard()


def _named(preface: Preface, head: bytes) -> Preface:
    """The preface with SOP Class and Instance UID from the beginning of the data set: some files are silent."""
    found: dict[int, str] = {}
    with contextlib.suppress(Malformed):  # `head` is cut somewhere, after these or before
        reader = open_data_set(InMemory(head), Limits(), frozenset({_SOP_CLASS, _SOP_INSTANCE})).reader
        for level, tag, _, offset, length in reader:
            if level == 0 and tag in (_SOP_CLASS, _SOP_INSTANCE) and length <= 64:
                found[tag] = reader.value(offset, length).decode("latin-1").strip(" \x00")
            if level == 0 and tag >= _SOP_INSTANCE:
                break
    if len(found) < 2:
        raise Malformed("file", "neither its preface nor its data set begins with SOP Class and Instance UID")
    return Preface(checked_uid(found[_SOP_CLASS]), checked_uid(found[_SOP_INSTANCE]), preface.transfer_syntax, 0)
