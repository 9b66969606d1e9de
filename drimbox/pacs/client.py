"""The PACS of the centre: is it there, what does it hold, have it send or give a study (PS3.4 annex C)."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import StoragePresentationContexts, evt

from drimbox.dicom.attributes import Attributes, text
from drimbox.dicom.command import VERIFICATION
from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.identifier import QueryLevel
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, checked_uid
from drimbox.errors import DrimboxError, NotAcceptable, TooLarge, Unavailable
from drimbox.pacs.association import MOST_CONTEXTS, Association, associated
from drimbox.settings import Destination, Pacs

STUDY_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"

MOST_FOUND: Final = 1000
MOST_INSTANCES: Final = 60_000
"""Of one study, in the answer of an archive; a manifest has no more."""
MOST_GOT_BYTES: Final = 2**29
"""Of one instance that comes by C-GET, which is held in memory; C-MOVE has no such limit."""

_PLAIN: Final = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
# What an image archive has. Each is proposed with each class, and DCMTK takes no request of 128 KiB.
_COMPRESSED: Final = ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203")
_STORABLE: Final = (
    *_PLAIN, *(f"{IMPLICIT_LITTLE_ENDIAN}.4.{suffix}" for suffix in _COMPRESSED), f"{IMPLICIT_LITTLE_ENDIAN}.5",
)  # fmt: skip
_STORED: Final = [str(context.abstract_syntax) for context in StoragePresentationContexts][: MOST_CONTEXTS - 1]
_STUDY: Final = (
    "0020000D", "00080050", "00100020", "00100021", "00100010", "00100030", "00100040", "00080020", "00080030",
    "00080061", "00081030", "00080090", "00200010", "00201206", "00201208",
)  # fmt: skip

_SERIES: Final = ("0020000D", "0020000E")
_INSTANCE: Final = ("0020000D", "0020000E", "00080018")

Take = Callable[[str, str, str, memoryview], Coroutine[Any, Any, int]]
"""SOP class, SOP instance, transfer syntax and data set of what came by C-GET -> status of its C-STORE."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a retrieval ended: instances that arrived, arrived with a warning, and did not."""

    completed: int
    warning: int
    failed: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive says it holds of a study: its attributes, and the SOP Instance UIDs of each series.

    Both empty when it holds nothing of it.
    """

    study: Attributes
    series: Mapping[str, frozenset[str]]

    @property
    def instances(self) -> frozenset[str]:
        """All SOP Instance UIDs."""
        return frozenset[str]().union(*self.series.values())


@dataclass(frozen=True)
class ArchiveScu:
    """Questions to one archive. calling: our AE title. Every method raises Unavailable when it does not answer."""

    place: Destination
    calling: str
    timeout_s: float
    retrieve_timeout_s: float

    async def echo(self) -> None:
        """Return when it answers C-ECHO with success."""
        async with associated(self.place, self.calling, [(VERIFICATION, _PLAIN)]) as association:
            status = await association.call(
                lambda: _asked(association, association.established.send_c_echo), self.timeout_s
            )
            _expect_success("C-ECHO", _status(status, association))

    async def find(self, level: QueryLevel, keys: Mapping[str, str]) -> list[Attributes]:
        """What matches, as DICOM JSON. keys: by tag, 8 hexadecimal digits; empty when only the value is wanted.

        Raises TooLarge past MOST_FOUND matches.
        """
        async with associated(self.place, self.calling, [(STUDY_FIND, _PLAIN)]) as association:
            return await association.call(lambda: _find(association, _query(level, keys)), self.timeout_s)

    async def find_studies(
        self, *, study_uid: str = "", accession_number: str = "", patient_id: str = ""
    ) -> list[Attributes]:
        """The studies of this UID, accession number or patient, all that are given; at least one is."""
        keys = dict.fromkeys(_STUDY, "")
        keys |= {"0020000D": study_uid, "00080050": accession_number, "00100020": patient_id}
        return await self.find("STUDY", keys)

    async def list_instances(self, study_uid: str) -> Listing:
        """All of a study, asked for level by level, as each archive can be asked. Raises TooLarge, Malformed."""
        study = {**dict.fromkeys(_STUDY, ""), "0020000D": study_uid}
        async with associated(self.place, self.calling, [(STUDY_FIND, _PLAIN)]) as association:

            async def ask(level: QueryLevel, keys: Mapping[str, str], most: int) -> list[Attributes]:
                asked = _query(level, keys)
                found = await association.call(lambda: _find(association, asked, most), self.timeout_s)
                return [one for one in found if text(one, "0020000D") in (study_uid, "")]

            studies = await ask("STUDY", study, MOST_FOUND)
            if not studies:
                return Listing({}, {})
            series: dict[str, frozenset[str]] = {}
            found = await ask("SERIES", {**dict.fromkeys(_SERIES, ""), "0020000D": study_uid}, MOST_FOUND)
            for uid in dict.fromkeys(text(one, "0020000E") for one in found):
                keys = {**dict.fromkeys(_INSTANCE, ""), "0020000D": study_uid, "0020000E": checked_uid(uid)}
                below = await ask("IMAGE", keys, MOST_INSTANCES)
                # Some answer for the whole study, whatever series was asked for.
                own = (one for one in below if text(one, "0020000E") in (uid, ""))
                series[uid] = frozenset(text(one, "00080018") for one in own) - {""}
                if sum(map(len, series.values())) > MOST_INSTANCES:
                    raise TooLarge("C-FIND", f"a study of more than {MOST_INSTANCES} instances")
            return Listing(studies[0], series)

    async def move(self, study_uid: str, destination: str, series_uid: str = "") -> Retrieved:
        """Have it send a study, or one series, to `destination`, an AE title it knows.

        Raises NotAcceptable when it does not.
        """
        asked = _study(study_uid, series_uid)
        async with associated(self.place, self.calling, [(STUDY_MOVE, _PLAIN)]) as association:
            return await association.call(
                lambda: _retrieved("C-MOVE", association, lambda scu: scu.send_c_move(asked, destination, STUDY_MOVE)),
                self.retrieve_timeout_s,
            )

    async def get(self, study_uid: str, take: Take, series_uid: str = "") -> Retrieved:
        """Have it give a study, or one series, on this association, an instance at a time.

        Raises TooLarge, what `take` raises.
        """
        asked, loop = _study(study_uid, series_uid), asyncio.get_running_loop()
        arriving = _Arriving(lambda *instance: asyncio.run_coroutine_threadsafe(take(*instance), loop).result())
        contexts = [(STUDY_GET, _PLAIN), *((uid, _STORABLE) for uid in _STORED)]
        handlers = [(evt.EVT_C_STORE, arriving.store), (evt.EVT_PDU_RECV, arriving.count)]
        async with associated(self.place, self.calling, contexts, scp_of=_STORED, handlers=handlers) as association:
            arriving.cut = association.cut
            try:
                return await association.call(
                    lambda: _retrieved("C-GET", association, lambda scu: scu.send_c_get(asked, STUDY_GET)),
                    self.retrieve_timeout_s,
                )
            except Unavailable:
                if arriving.refusal is not None:
                    raise arriving.refusal from None
                raise


def pacs_scu(settings: Pacs, ae_title: str) -> ArchiveScu:
    """The PACS of the configuration. ae_title: ours. Raises Unavailable when there is none."""
    if not settings.host:
        raise Unavailable("pacs.host", "no PACS is configured")
    return ArchiveScu(settings.place, ae_title, settings.timeout_s, settings.retrieve_timeout_s)


class _Arriving:
    """What comes by C-GET, on pynetdicom's threads. refusal: why the association was cut."""

    def __init__(self, take: Callable[..., int]) -> None:
        self._take = take
        self._length = 0
        self.cut: Callable[[], None] = lambda: None
        self.refusal: DrimboxError | None = None

    def count(self, event: Any) -> None:
        """The whole data set is held until its end: an end that does not come must not cost everything."""
        self._length += getattr(event.pdu, "pdu_length", 0)
        if self._length > MOST_GOT_BYTES:
            self.refusal = TooLarge("C-GET", f"an instance of more than {MOST_GOT_BYTES} bytes: set pacs.retrieve_by")
            self.cut()

    def store(self, event: Any) -> int:
        self._length = 0
        request = event.request
        instance = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, event.context.transfer_syntax)
        with request.DataSet.getbuffer() as data_set:
            try:
                return self._take(*(str(uid) for uid in instance), data_set)
            except DrimboxError as refusal:  # of the archive as a whole: no other instance would fare better
                self.refusal = refusal
                self.cut()
                raise


def _query(level: QueryLevel, keys: Mapping[str, str]) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for tag, value in keys.items():
        asked.add_new(int(tag, 16), vr_of(int(tag, 16)), value)
    return asked


def _study(study_uid: str, series_uid: str) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES" if series_uid else "STUDY"
    asked.StudyInstanceUID = study_uid
    if series_uid:
        asked.SeriesInstanceUID = series_uid
    return asked


def _asked(association: Association, ask: Callable[[], Any]) -> Any:
    """What pynetdicom raises where there is no context for the question, or no association any more."""
    try:
        return ask()
    except ValueError as error:
        raise NotAcceptable(association.name, "it does not offer this service") from error
    except RuntimeError as error:
        raise association.gone() from error


def _status(answer: Dataset, association: Association) -> int:
    if "Status" not in answer:
        raise association.gone()
    return int(answer.Status)


def _answers(association: Association, answers: Iterator[tuple[Dataset, Dataset | None]]) -> Iterator[Any]:
    for answer, identifier in answers:
        yield _status(answer, association), answer, identifier


def _find(association: Association, asked: Dataset, most: int = MOST_FOUND) -> list[Attributes]:
    found: list[Attributes] = []
    answers = _asked(association, lambda: association.established.send_c_find(asked, STUDY_FIND))
    for status, _, identifier in _answers(association, answers):
        if status not in (0xFF00, 0xFF01):
            _expect_success("C-FIND", status)
        elif len(found) == most:
            association.cut()
            raise TooLarge("C-FIND", f"more than {most} match")
        elif identifier is not None:
            found.append(identifier.to_json_dict(suppress_invalid_tags=True))
    return found


def _retrieved(
    service: str, association: Association, send: Callable[[Any], Iterator[tuple[Dataset, Dataset | None]]]
) -> Retrieved:
    done = Retrieved(0, 0, 0)
    for status, answer, _ in _answers(association, _asked(association, lambda: send(association.established))):
        counts = (answer.get(f"NumberOf{kind}Suboperations") for kind in ("Completed", "Warning", "Failed"))
        told = Retrieved(*(int(count or 0) for count in counts))
        done = told if told != Retrieved(0, 0, 0) else done
        if status == 0xA801:
            raise NotAcceptable(service, "the other end does not know our AE title: declare it there, with our address")
        if status not in (0xFF00, 0xB000):
            _expect_success(service, status)
    return done


def _expect_success(service: str, status: int) -> None:
    if status != 0x0000:
        raise Unavailable(service, f"status {status:04X}")
