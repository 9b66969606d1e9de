"""PDUs against bytes worked by hand from PS3.8 §9.3, and against another implementation's encoder and decoder."""

from dataclasses import replace

import pytest
from pynetdicom import pdu as peer
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from drimbox.dicom.pdu import (
    LOCAL_LIMIT_EXCEEDED,
    AbortReason,
    AbortSource,
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    build_abort,
    build_associate_accept,
    build_associate_reject,
    build_associate_request,
    build_data,
    build_release_request,
    build_release_response,
    read_associate_accept,
    read_associate_request,
)
from drimbox.dicom.user_information import Extended, Role, UserIdentity, UserInformation
from drimbox.dicom_scp.negotiation import answer
from drimbox.errors import Malformed

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
APPLICATION = b"\x10\0\0\x151.2.840.10008.3.1.1.1"
HAND_MADE = (
    b"\0\x01\0\0"
    + b"DRIMBOX".ljust(16)
    + b"SCANNER".ljust(16)
    + bytes(32)
    + APPLICATION
    + b"\x20\0\0\x40\x01\0\0\0"
    + b"\x30\0\0\x191.2.840.10008.5.1.4.1.1.2"
    + b"\x40\0\0\x131.2.840.10008.1.2.1"
    + b"\x40\0\0\x041.23"
    + b"\x50\0\0\x0f\x51\0\0\x04\0\0\x40\0\x52\0\0\x031.2"
)


@pytest.mark.parametrize(
    ("built", "known"),
    [
        (build_associate_reject(LOCAL_LIMIT_EXCEEDED), "03 00 00000004 00 02 03 02"),
        (build_release_request(), "05 00 00000004 00000000"),
        (build_release_response(), "06 00 00000004 00000000"),
        (build_abort(AbortSource.SERVICE_USER), "07 00 00000004 00 00 00 00"),
        (build_abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU), "07 00 00000004 00 00 02 02"),
        (b"".join(build_data(5, b"\1\2", True, 0)), "04 00 00000008 00000004 05 03 0102"),
        (
            b"".join(build_data(5, b"\1\2\3", False, 8)),
            "04 00 00000008 00000004 05 00 0102 04 00 00000007 00000003 05 02 03",
        ),
        (b"".join(build_data(1, b"", False, 0)), "04 00 00000006 00000002 01 02"),
    ],
)
def test_a_small_pdu_is_these_bytes(built: bytes, known: str) -> None:
    assert built == bytes.fromhex(known)


def test_a_hand_made_request_is_read() -> None:
    assert read_associate_request(HAND_MADE) == AssociateRequest(
        "DRIMBOX", "SCANNER", (ProposedContext(1, CT, (EXPLICIT, "1.23")),), UserInformation(16384, "1.2")
    )


def test_a_request_by_pynetdicom_is_read_and_what_we_do_not_use_is_skipped() -> None:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = "SCANNER 1"
    primitive.called_ae_title = "DRIMBOX"
    first, second = build_context(CT, [EXPLICIT, IMPLICIT]), build_context("1.2.840.10008.1.1", [IMPLICIT])
    first.context_id, second.context_id = 1, 255
    primitive.presentation_context_definition_list = [first, second]
    maximum, class_uid, version = MaximumLengthNotification(), ImplementationClassUIDNotification(), None
    maximum.maximum_length_received = 131072
    class_uid.implementation_class_uid = "1.2.3.4"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "PEER 1"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 0
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\x02\0\x03\0\0\0"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"someone", b"something"
    identity.positive_response_requested = True
    primitive.user_information = [maximum, class_uid, version, window, role, extended, identity]
    request = peer.A_ASSOCIATE_RQ()
    request.from_primitive(primitive)

    assert read_associate_request(request.encode()[6:]) == AssociateRequest(
        "DRIMBOX",
        "SCANNER 1",
        (ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(255, "1.2.840.10008.1.1", (IMPLICIT,))),
        UserInformation(
            131072,
            "1.2.3.4",
            "PEER 1",
            (5, 0),
            (Role(CT, True, True),),
            (Extended(CT, b"\x02\0\x03\0\0\0"),),
            UserIdentity(2, True, b"someone", b"something"),
        ),
    )


def test_our_answer_is_read_by_pynetdicom() -> None:
    accept = AssociateAccept(
        "DRIMBOX",
        "SCANNER",
        (AnsweredContext(1, 0, EXPLICIT), AnsweredContext(3, 3, "")),
        UserInformation(65536, "1.2.3", "DRIMBOX", (1, 1), (Role(CT, True, False),), identity_answer=b""),
    )
    read = peer.A_ASSOCIATE_AC()
    read.decode(build_associate_accept(accept))

    assert [(c.context_id, c.result, c.transfer_syntax) for c in read.presentation_context] == [
        (1, 0, EXPLICIT),
        (3, 3, None),
    ]
    assert read.user_information.maximum_length == 65536
    assert read.user_information.implementation_class_uid == "1.2.3"
    assert read.user_information.implementation_version_name == "DRIMBOX"
    window = read.user_information.async_ops_window
    assert window is not None
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (1, 1)
    assert read.user_information.user_identity is not None
    assert read.user_information.user_identity.server_response in (b"", None)
    assert [(r.uid, r.scu, r.scp) for r in read.user_information.role_selection.values()] == [(CT, 1, 0)]
    assert read_associate_accept(build_associate_accept(accept)[6:]) == accept


@pytest.mark.parametrize("padding", [b" ", b"\0"])
def test_titles_and_uids_lose_their_padding(padding: bytes) -> None:
    body = HAND_MADE.replace(b"DRIMBOX".ljust(16), b"DRIMBOX".ljust(16, padding)).replace(b"1.23", b"1.2" + padding)

    request = read_associate_request(body)

    assert request.called == "DRIMBOX"
    assert request.contexts[0].transfer_syntaxes == (EXPLICIT, "1.2")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HAND_MADE, HAND_MADE[:67]),  # the fixed part is cut
        (HAND_MADE, HAND_MADE[:-1]),  # the last item is cut
        (b"\x40\0\0\x041.23", b"\x40\0\0\x051.23"),  # a sub-item longer than its item
        (b"\x20\0\0\x40\x01", b"\x20\0\0\x40\x02"),  # an even context identifier
        (b"\x30\0\0\x19", b"\x41\0\0\x19"),  # no abstract syntax
        (b"\x50\0\0\x0f", b"\x5a\0\0\x0f"),  # no user information
        (b"\x20\0\0\x40", b"\x2a\0\0\x40"),  # no presentation context
        (b"\x51\0\0\x04\0\0\x40\0", b"\x51\0\0\x04\0\0\0\x06"),  # a maximum length nothing fits in
        (b"\x51\0\0\x04\0\0\x40\0", b"\x51\0\0\x03\0\0\x40"),  # a maximum length of three bytes
        (b"SCANNER ", b"SCAN\nER "),
        (b"SCANNER ", b"SCAN\xc9ER "),
        (b"SCANNER ", b"SCAN\\ER "),
    ],
)
def test_a_request_that_is_not_one_is_malformed(before: bytes, after: bytes) -> None:
    with pytest.raises(Malformed):
        read_associate_request(HAND_MADE.replace(before, after))


def test_one_context_identifier_twice_is_malformed() -> None:
    context = ProposedContext(3, CT, (EXPLICIT,))
    request = AssociateRequest("A", "B", (context, context), UserInformation(0, "1.2"))
    with pytest.raises(Malformed):
        read_associate_request(build_associate_request(request)[6:])


def test_extended_negotiation_is_answered_by_service() -> None:
    find, move, ct = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.1.2"
    asked = (
        Extended(find, b"\1\1\1\1\1\1\1"),
        Extended(move, b"\1"),
        Extended(ct, b"\0"),
        Extended("1.2.840.10008.1.20.1", b"\1"),
    )
    contexts = tuple(
        ProposedContext(2 * index + 1, uid, ("1.2.840.10008.1.2",)) for index, uid in enumerate((find, move, ct))
    )
    request = AssociateRequest("CALLED", "CALLING", contexts, UserInformation(16384, "1.2.3", extended=asked))
    read = read_associate_request(build_associate_request(request)[6:])
    assert read.user.extended == asked
    accept, _ = answer(read, 16384)
    # PS3.4 C.5.1.1: relational, combined date and time, fuzzy; no time zone, no multi-frame views; C.5.2.1: relational;
    # B.3.1: level 2, signature level 3, nothing coerced.
    assert accept.user.extended == (
        Extended(find, b"\1\1\1\0\0"),
        Extended(move, b"\1"),
        Extended(ct, b"\2\0\3\0\0\0"),
    )
    unasked = replace(request, user=UserInformation(16384, "1.2.3", extended=(Extended(find, b"\0\0\1"),)))
    accept, contexts = answer(unasked, 16384)
    assert accept.user.extended == (Extended(find, b"\0\0\1"),)
    assert [(c.is_relational, c.is_combined, c.is_fuzzy) for c in contexts.values()] == [
        (False, False, True), (False, False, False), (False, False, False),
    ]  # fmt: skip
