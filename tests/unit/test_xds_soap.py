"""SOAP answers: one body, for our message, with the document asked for."""

import pytest

from drimbox.errors import Malformed
from drimbox.xds.soap import Answer, Fault, read_answer, read_document

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
MEDIA = "application/soap+xml; charset=UTF-8"


def envelope(body: str, relates_to: str = "urn:uuid:1", namespace: str = SOAP) -> bytes:
    related = f"<a:RelatesTo>{relates_to}</a:RelatesTo>" if relates_to else ""
    return (
        f'<s:Envelope xmlns:s="{namespace}" xmlns:a="http://www.w3.org/2005/08/addressing"><s:Header>{related}'
        f'</s:Header><s:Body xmlns:b="urn:ihe:iti:xds-b:2007">{body}</s:Body></s:Envelope>'
    ).encode()


def document(unique_id: str, content: str) -> str:
    return (
        f"<b:DocumentResponse><b:DocumentUniqueId> {unique_id} </b:DocumentUniqueId>"
        f"<b:Document>{content}</b:Document></b:DocumentResponse>"
    )


@pytest.mark.parametrize(
    "content",
    [
        envelope("<x/>", relates_to=""),
        envelope("<x/>", relates_to="urn:uuid:2"),
        envelope("<x/><y/>"),
        envelope(""),
        envelope("<x/>", namespace="http://schemas.xmlsoap.org/soap/envelope/"),
        envelope('<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:1"/>'),
        envelope("<s:Fault/>", relates_to="urn:uuid:2"),
        b"<html/>",
    ],
)
def test_what_does_not_answer_our_message_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(MEDIA, content, "urn:uuid:1")


@pytest.mark.parametrize("relates_to", ["urn:uuid:1", ""])
def test_a_fault_says_whether_it_is_about_security(relates_to: str) -> None:
    subcode = f'<s:Subcode><s:Value xmlns:o="{WSSE}">o:FailedAuthentication</s:Value></s:Subcode>'
    secure = envelope(f"<s:Fault><s:Code><s:Value>s:Sender</s:Value>{subcode}</s:Code></s:Fault>", relates_to)
    assert read_answer(MEDIA, secure, "urn:uuid:1") == Fault("Sender", "FailedAuthentication", about_security=True)
    plain = envelope("<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code></s:Fault>", relates_to)
    assert read_answer(MEDIA, plain, "urn:uuid:1") == Fault("Receiver")
    assert read_answer(MEDIA, envelope("<s:Fault/>", relates_to), "urn:uuid:1") == Fault("")


def read(body: str) -> bytes:
    answer = read_answer(MEDIA, envelope(f"<b:R>{body}</b:R>"), "urn:uuid:1")
    assert isinstance(answer, Answer)
    return read_document(answer, "1.2")


def test_a_document_inside_the_envelope_is_read() -> None:
    assert read(document("1.3", "AAAA") + document("1.2", "Zm9\n v ")) == b"foo"


@pytest.mark.parametrize(
    "body", ["", document("1.3", "AAAA"), document("1.2", "AAAA") * 2, document("1.2", "A"), document("1.2", "é")]
)
def test_a_document_that_is_not_there_once_is_malformed(body: str) -> None:
    with pytest.raises(Malformed):
        read(body)
