"""What an answer to a submission means: done, refused for good, to be asked, or to be tried again (pure).

The rule is P7: only a plain success is a yes; only an error about this very submission is a no; the rest is asked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from drimbox.errors import Malformed, Unavailable
from drimbox.xds import codes
from drimbox.xds.answers import RegistryOutcome, read_registry_response
from drimbox.xds.soap import Answer, Fault


@dataclass(frozen=True, slots=True)
class Registered:
    """The DMP took it. warnings: codes that came with the success; what they say was left out, nothing was refused."""

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The DMP is as the submission wants it: an earlier try had gone through. entry_uuid: what the DMP calls it."""

    entry_uuid: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """The DMP will not take it as it is, now or later. reason: words and XDS codes, no value of a patient."""

    reason: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Ask the registry; if it is not as the submission wants it, then `otherwise`."""

    otherwise: Refused | Unavailable


# park: about this very submission, a human looks. retry: about the server, the same bytes may pass later. ask: it may
# mean that an earlier try of ours went through, so the registry decides, and then park.
Then = Literal["park", "retry", "ask"]


class Error(NamedTuple):
    """What follows from an error code, and what it says to people."""

    then: Then
    meaning: str


# ITI TF-3 table 4.2.4.1-2, every code that a submission, an update or a query can meet.
ERRORS: Final[dict[str, Error]] = {
    "InvalidDocumentContent": Error("park", "the document is not what its metadata say"),
    "PatientIdentifierError": Error("park", "the patient identifier is not one the DMP accepts"),
    "ReferencesExistException": Error("park", "something else still refers to it"),
    "UnmodifiableMetadataError": Error("park", "one of the changed metadata may not be changed"),
    "UnresolvedReferenceException": Error("ask", "the document to replace or to change is not in the DMP"),
    "UnsupportedCapabilityException": Error("park", "the DMP does not know what is asked of it"),
    "XDSDocumentUniqueIdError": Error("park", "the document is not there, or not for us"),
    "XDSDuplicateUniqueIdInRegistry": Error("ask", "this unique id is registered already"),
    "XDSMetadataAnnotationError": Error("park", "an annotation is not right"),
    "XDSMetadataIdentifierError": Error("park", "an identifier in the metadata is not right"),
    "XDSMetadataUpdateError": Error("ask", "the change cannot be made"),
    "XDSMetadataUpdateOperationError": Error("park", "the kind of change is not one the DMP makes"),
    "XDSMetadataVersionError": Error("ask", "the document was changed by somebody else meanwhile"),
    "XDSMissingDocument": Error("park", "a document that was announced did not come"),
    "XDSMissingDocumentMetadata": Error("park", "a document came that was not announced"),
    "XDSMissingHomeCommunityId": Error("park", "a homeCommunityId is required"),
    "XDSNonIdenticalHash": Error("ask", "another document is registered under this unique id"),
    "XDSNonIdenticalSize": Error("ask", "another document is registered under this unique id"),
    "XDSPatientIDReconciliationError": Error("park", "the patient of the change is not that of the document"),
    "XDSPatientIdDoesNotMatch": Error("park", "the patient is not the same in all the metadata"),
    "XDSRegistryBusy": Error("retry", "the registry is busy"),
    "XDSRepositoryBusy": Error("retry", "the repository is busy"),
    "XDSRegistryDeprecatedDocumentError": Error("ask", "the document to replace is not the current one any more"),
    "XDSRegistryDuplicateUniqueIdInMessage": Error("park", "a unique id occurs twice in the message"),
    "XDSRepositoryDuplicateUniqueIdInMessage": Error("park", "a unique id occurs twice in the message"),
    "XDSRegistryError": Error("retry", "the registry has an internal error"),
    "XDSRepositoryError": Error("retry", "the repository has an internal error"),
    "XDSRegistryMetadataError": Error("park", "the metadata are not right"),
    "XDSRepositoryMetadataError": Error("park", "the metadata are not right"),
    "XDSRegistryNotAvailable": Error("retry", "the registry does not answer the repository"),
    "XDSRegistryOutOfResources": Error("retry", "the registry is short of resources"),
    "XDSRepositoryOutOfResources": Error("retry", "the repository is short of resources"),
    "XDSReplaceFailed": Error("ask", "the document to replace is not the current one any more"),
    "XDSResultNotSinglePatient": Error("park", "the answer would be about several patients"),
    "XDSStoredQueryMissingParam": Error("park", "the query lacks a parameter"),
    "XDSStoredQueryParamNumber": Error("park", "a parameter of the query has too many values"),
    "XDSTooManyResults": Error("park", "there are more results than the DMP gives"),
    "XDSUnavailableCommunity": Error("retry", "a part of the DMP does not answer"),
    "XDSUnknownCommunity": Error("park", "the homeCommunityId is not known"),
    "XDSUnknownPatientId": Error("park", "the patient has no DMP, or it is closed"),
    "XDSUnknownRepositoryId": Error("park", "the repository is not known"),
    "XDSUnknownStoredQuery": Error("park", "the DMP does not know this query"),
}

# Those of the table that come with a success: it was registered, and less was kept or done than was sent.
WARNINGS: Final = frozenset(
    {
        "DocumentQueued",
        "PartialAppendContentNotProcessed",
        "PartialFolderContentNotProcessed",
        "PartialRelationshipContentNotProcessed",
        "PartialReplaceContentNotProcessed",
        "PartialTransformNotProcessed",
        "PartialTransformReplaceNotProcessed",
        "XDSExtraMetadataNotSaved",
    }
)
_MISSING: Final = frozenset({"XDSUnknownPatientId", "XDSDocumentUniqueIdError"})
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9:_.-]")


def judge(answer: Answer | Fault) -> Registered | Refused | InDoubt:
    """Say what the answer to a submission (ITI-41) or to an update (ITI-57) means."""
    if isinstance(answer, Fault):
        refused = Refused(explain((), answer))
        # A refused assertion is about our clock or our certificate: the submission must go once they are right.
        ours = answer.code == "Sender" and not answer.about_security
        return refused if ours else InDoubt(Unavailable("DMP", refused.reason))
    try:
        outcome = read_registry_response(answer.body)
    except Malformed as error:
        return InDoubt(Unavailable("DMP", str(error)))
    if _is_done(outcome):
        return Registered(tuple(map(_word, (*outcome.warning_codes, *outcome.error_codes))))
    reason = explain(outcome.error_codes)
    then = {ERRORS[code].then if code in ERRORS else "ask" for code in outcome.error_codes}
    if not then or "retry" in then:
        return InDoubt(Unavailable("DMP", reason))
    if outcome.status != codes.FAILURE or "ask" in then:
        return InDoubt(Refused(reason))
    return Refused(reason)


def _is_done(outcome: RegistryOutcome) -> bool:
    """Some registries call warnings what the table calls warnings, others call them errors of a success."""
    return outcome.status == codes.SUCCESS and WARNINGS.issuperset(outcome.error_codes)


def means_nothing_there(outcome: RegistryOutcome) -> bool:
    """Did a query or a retrieval fail because there is no such patient or document?"""
    return bool(_MISSING.intersection(outcome.error_codes))


def explain(errors: Iterable[str], fault: Fault | None = None) -> str:
    """Words for people, from codes alone: the free text of a server may name the patient."""
    if fault is not None:
        return " ".join(["SOAP fault", _word(fault.code), *([_word(fault.subcode)] if fault.subcode else [])])
    told = [f"{code} ({ERRORS[code].meaning})" if code in ERRORS else _word(code) for code in dict.fromkeys(errors)]
    return ", ".join(told[:5]) or "it tells no success and no error"


def _word(text: str) -> str:
    return _NOT_A_WORD.sub("", text)[:64] or "without a code"
