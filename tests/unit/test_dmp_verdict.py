"""Every error code of ITI TF-3 table 4.2.4.1-2, and what follows from it: done, asked, tried again or a human."""

import pytest
from lxml import etree

from drimbox.dmp.verdict import ERRORS, InDoubt, Refused, Registered, judge
from drimbox.errors import Unavailable
from drimbox.xds.mtom import Message
from drimbox.xds.soap import Answer, Fault

STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"

# From the table itself, by what each says of the submission.
PARK = [
    "InvalidDocumentContent",
    "ReferencesExistException",
    "UnsupportedCapabilityException",
    "XDSDocumentUniqueIdError",
    "XDSMetadataIdentifierError",
    "XDSMetadataUpdateOperationError",
    "XDSMissingDocument",
    "XDSMissingDocumentMetadata",
    "XDSMissingHomeCommunityId",
    "XDSPatientIDReconciliationError",
    "XDSPatientIdDoesNotMatch",
    "XDSRegistryDuplicateUniqueIdInMessage",
    "XDSRepositoryDuplicateUniqueIdInMessage",
    "XDSRegistryMetadataError",
    "XDSRepositoryMetadataError",
    "XDSResultNotSinglePatient",
    "XDSStoredQueryMissingParam",
    "XDSStoredQueryParamNumber",
    "XDSTooManyResults",
    "XDSUnknownCommunity",
    "XDSUnknownPatientId",
    "XDSUnknownRepositoryId",
    "XDSUnknownStoredQuery",
]
RETRY = [
    "XDSRegistryBusy",
    "XDSRepositoryBusy",
    "XDSRegistryError",
    "XDSRepositoryError",
    "XDSRegistryNotAvailable",
    "XDSRegistryOutOfResources",
    "XDSRepositoryOutOfResources",
    "XDSUnavailableCommunity",
]
ASK = [
    "UnresolvedReferenceException",
    "XDSDuplicateUniqueIdInRegistry",
    "XDSMetadataUpdateError",
    "XDSMetadataVersionError",
    "XDSNonIdenticalHash",
    "XDSNonIdenticalSize",
    "XDSRegistryDeprecatedDocumentError",
    "XDSReplaceFailed",
]
WARN = [
    "DocumentQueued",
    "PartialAppendContentNotProcessed",
    "PartialFolderContentNotProcessed",
    "PartialRelationshipContentNotProcessed",
    "PartialReplaceContentNotProcessed",
    "PartialTransformNotProcessed",
    "PartialTransformReplaceNotProcessed",
    "XDSExtraMetadataNotSaved",
]


def answer(status: str, *codes: str, severity: str = "Error") -> Answer:
    errors = "".join(
        f'<r:RegistryError errorCode="{code}" codeContext="of EXEMPLE Dominique" '
        f'severity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:{severity}"/>'
        for code in codes
    )
    namespace = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
    text = f'<r:RegistryResponse xmlns:r="{namespace}" status="{status}">'
    listed = f"<r:RegistryErrorList>{errors}</r:RegistryErrorList>" if errors else ""
    return Answer(etree.fromstring(f"{text}{listed}</r:RegistryResponse>"), Message(b"", {}))


def test_the_table_is_whole() -> None:
    assert {*PARK, *RETRY, *ASK} <= ERRORS.keys()
    assert {code for code in ERRORS if ERRORS[code].then == "retry"} == set(RETRY)
    assert {code for code in ERRORS if ERRORS[code].then == "ask"} == set(ASK)


@pytest.mark.parametrize("code", PARK)
def test_an_error_about_the_submission_goes_to_a_human(code: str) -> None:
    verdict = judge(answer(f"{STATUS}Failure", code))
    assert isinstance(verdict, Refused)
    assert verdict.reason.startswith(f"{code} (")


@pytest.mark.parametrize("code", RETRY)
def test_an_error_of_the_server_is_tried_again_unless_it_was_done(code: str) -> None:
    verdict = judge(answer(f"{STATUS}Failure", code))
    assert isinstance(verdict, InDoubt)
    assert isinstance(verdict.otherwise, Unavailable)


@pytest.mark.parametrize("code", [*ASK, "DmpSomethingNobodyDocumented"])
def test_what_an_earlier_try_may_have_caused_is_asked_then_goes_to_a_human(code: str) -> None:
    verdict = judge(answer(f"{STATUS}Failure", code))
    assert isinstance(verdict, InDoubt)
    assert isinstance(verdict.otherwise, Refused)


@pytest.mark.parametrize("code", WARN)
@pytest.mark.parametrize("severity", ["Warning", "Error"])
def test_a_warning_of_a_success_is_a_success(code: str, severity: str) -> None:
    assert judge(answer(f"{STATUS}Success", code, severity=severity)) == Registered((code,))


def test_success_is_success() -> None:
    assert judge(answer(f"{STATUS}Success")) == Registered()


@pytest.mark.parametrize(
    "unclear",
    [
        answer(PARTIAL, "XDSMissingDocument"),
        answer(f"{STATUS}Success", "XDSMissingDocument"),  # it contradicts itself
        answer(f"{STATUS}Failure"),  # no error at all
        answer(f"{STATUS}Failure", "XDSMissingDocument", "XDSRepositoryBusy"),
        answer("urn:something:else"),
        Answer(etree.fromstring("<html/>"), Message(b"", {})),
        Fault("Receiver"),
        Fault("Sender", "MessageExpired", about_security=True),
    ],
)
def test_what_is_no_plain_yes_or_no_is_asked(unclear: Answer | Fault) -> None:
    assert isinstance(judge(unclear), InDoubt)


def test_a_fault_about_our_message_goes_to_a_human() -> None:
    assert judge(Fault("Sender")) == Refused("SOAP fault Sender")


def test_nothing_the_server_says_in_words_is_kept() -> None:
    verdict = judge(answer(f"{STATUS}Failure", "XDSMissingDocument", "<b>EXEMPLE Dominique</b>"[3:12] + "\n^"))
    assert isinstance(verdict, InDoubt)
    assert isinstance(verdict.otherwise, Refused)
    assert "Dominique" not in verdict.otherwise.reason
