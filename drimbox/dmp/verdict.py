"""What an answer to a registration means: done, refused for good, or in doubt (pure).

The rule is P7: only a plain success is a yes; only an error about this very submission is a no; the rest is asked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from drimbox.errors import Malformed, Unavailable
from drimbox.xds import codes
from drimbox.xds.answers import read_registry_response
from drimbox.xds.soap import Answer, Fault


@dataclass(frozen=True, slots=True)
class Registered:
    """The DMP took it."""


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The DMP holds it, same unique id and same hash: an earlier try had gone through."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The DMP will not take it as it is, now or later. reason: words and XDS codes, no value of a patient."""

    reason: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Ask the registry; if it does not hold the document, then `otherwise`."""

    otherwise: Refused | Unavailable


# Errors about the server and not about the submission: the same bytes may pass later (ITI TF-3 §4.2.4.1).
_TRANSIENT = frozenset(
    {
        "XDSRegistryBusy",
        "XDSRepositoryBusy",
        "XDSRegistryError",
        "XDSRepositoryError",
        "XDSRegistryOutOfResources",
        "XDSRepositoryOutOfResources",
        "XDSRegistryNotAvailable",
    }
)
_KNOWN_ALREADY = frozenset({"XDSDuplicateUniqueIdInRegistry", "XDSNonIdenticalHash"})
_MEANINGS = {
    "XDSUnknownPatientId": "the patient has no DMP, or it is closed",
    "XDSPatientIdDoesNotMatch": "the patient is not the same in all the metadata",
    "XDSRegistryDeprecatedDocumentError": "the document to replace is not the current one any more",
    "UnresolvedReferenceException": "the document to replace is not in the DMP",
    "XDSNonIdenticalHash": "another document is registered under this unique id",
    "XDSDuplicateUniqueIdInRegistry": "this unique id is registered already",
    "XDSRegistryMetadataError": "the metadata are not right",
    "XDSRepositoryMetadataError": "the metadata are not right",
}
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9:_.-]")


def judge(answer: Answer | Fault) -> Registered | Refused | InDoubt:
    """Say what the answer to an ITI-41 means."""
    if isinstance(answer, Fault):
        refused = Refused(explain((), answer))
        # A refused assertion is about our clock or our certificate: the submission must go once they are right.
        ours = answer.code == "Sender" and not answer.about_security
        return refused if ours else InDoubt(Unavailable("DMP", refused.reason))
    try:
        outcome = read_registry_response(answer.body)
    except Malformed as error:
        return InDoubt(Unavailable("DMP", str(error)))
    if outcome.is_success:
        return Registered()
    errors = frozenset(outcome.error_codes)
    reason = explain(outcome.error_codes)
    if not errors or errors & _TRANSIENT:
        return InDoubt(Unavailable("DMP", reason))
    if outcome.status != codes.FAILURE or errors & _KNOWN_ALREADY:
        return InDoubt(Refused(reason))
    return Refused(reason)


def explain(errors: Iterable[str], fault: Fault | None = None) -> str:
    """Words for people, from codes alone: the free text of a server may name the patient."""
    if fault is not None:
        return f"SOAP fault {_word(fault.code)} {_word(fault.subcode)}".strip()
    told = [f"{code} ({_MEANINGS[code]})" if code in _MEANINGS else _word(code) for code in dict.fromkeys(errors)]
    return ", ".join(told[:5]) or "it tells no success and no error"


def _word(text: str) -> str:
    return _NOT_A_WORD.sub("", text)[:64] or "without a code"
