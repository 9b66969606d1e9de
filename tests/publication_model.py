"""What tests of the outbox know of reports, exams and persons, and the events that change it."""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from drimbox.model import Identifier

FLAGS = ("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")


@dataclass
class Person:
    """number: of the local identifier. ins: of the number last given to them."""

    number: int
    ins: int


@dataclass
class Told:
    """A report, as it stands now. document: the number of the document it is a version of."""

    number: int
    document: int
    studies: tuple[str, ...]
    person: Person
    ins: int
    flags: tuple[str, ...]
    to_dmp: bool
    qualified: bool = True
    status: str = "current"


@dataclass
class Study:
    uid: str
    person: Person
    shown: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    taken_back: bool = False
    ever: set[int] = field(default_factory=set)  # the INS it was said to be about


@dataclass(frozen=True)
class Event:
    """Something happens. which, other: of whatever there is, counted round; few: how many, how long."""

    name: str
    which: int
    other: int
    few: int
    flags: tuple[str, ...]


KINDS = ("text", "flags", "visibility", "visibility", "ins", "not qualified", "not for the DMP")
NAMES = {
    "report": 5,
    "correction": 6,
    "deletion": 2,
    "images": 6,
    "rejection_note": 3,
    "study_notice": 2,
    "merge": 1,
    "work": 6,
    "killed": 2,
    "outage": 1,
    "parked_by_hand": 1,
    "discarded_by_hand": 1,
}
ANY = st.integers(0, 999)
EVENTS = st.builds(
    Event,
    st.sampled_from([name for name, weight in NAMES.items() for _ in range(weight)]),
    ANY,
    ANY,
    st.integers(1, 4),
    st.sets(st.sampled_from(FLAGS)).map(lambda flags: tuple(sorted(flags))),
)


def document(number: int) -> Identifier:
    """Of a report."""
    return Identifier(f"1.2.3.9.{number}")
