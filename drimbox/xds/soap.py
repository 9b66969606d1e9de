"""SOAP 1.2 envelopes with WS-Addressing and a WS-Security header (W3C; IHE ITI TF-2 appendix V).

The transactions: ITI-18, ITI-41 and ITI-43 share this shape, only their bodies differ (`ebxml.py`).
"""

from dataclasses import dataclass

from lxml import etree

from drimbox.errors import Malformed
from drimbox.xds import codes
from drimbox.xds.mtom import Message, read_base64, read_message, resolved
from drimbox.xds.xml import NAMESPACES, added, read_xml, written

MAX_ENVELOPE = 16 * 2**20

_ANONYMOUS = f"{codes.WSA}/anonymous"
_WSS = "http://docs.oasis-open.org/wss/"


@dataclass(frozen=True, slots=True)
class Fault:
    """env:Fault. code, subcode: local names (`Sender`, `FailedAuthentication`). The reason is free text: not kept.

    about_security: WS-Security says that the assertion or its signature was refused, not the document.
    """

    code: str
    subcode: str = ""
    about_security: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A SOAP answer to one request of ours: its body, and the message whose parts the body may name."""

    body: etree._Element
    message: Message


def build_envelope(
    body: etree._Element, *, action: str, to: str, message_id: str, assertion: etree._Element | None = None
) -> bytes:
    """Wrap a body. message_id: `urn:uuid:` and a UUID, new at each try. assertion: goes in wsse:Security, as it is."""
    envelope = etree.Element(
        f"{{{codes.SOAP}}}Envelope", nsmap={"soap": codes.SOAP, "wsa": codes.WSA, "wsse": codes.WSSE}
    )
    header = added(envelope, codes.SOAP, "Header")
    required = {f"{{{codes.SOAP}}}mustUnderstand": "true"}
    added(header, codes.WSA, "Action", required, text=action)
    added(header, codes.WSA, "MessageID", text=message_id)
    added(header, codes.WSA, "To", required, text=to)
    added(added(header, codes.WSA, "ReplyTo"), codes.WSA, "Address", text=_ANONYMOUS)
    if assertion is not None:
        added(header, codes.WSSE, "Security", required).append(assertion)
    added(envelope, codes.SOAP, "Body").append(body)
    return written(envelope)


def read_answer(content_type: str, content: bytes, message_id: str) -> Answer | Fault:
    """Read the answer to our message `message_id`.

    Raises Malformed or TooLarge when it is not a SOAP 1.2 envelope, does not relate to our message, or names a part
    that is not there. A fault need not say what it relates to: it may be about the headers themselves.
    """
    message = read_message(content_type, content)
    envelope = read_xml(message.envelope, "SOAP answer", MAX_ENVELOPE)
    bodies = envelope.findall("soap:Body", NAMESPACES)
    if envelope.tag != f"{{{codes.SOAP}}}Envelope" or len(bodies) != 1 or len(bodies[0]) != 1:
        raise Malformed("SOAP answer", "not an envelope with one body")
    related = [(found.text or "").strip() for found in envelope.findall("soap:Header/wsa:RelatesTo", NAMESPACES)]
    body = bodies[0][0]
    is_fault = body.tag == f"{{{codes.SOAP}}}Fault"
    if related != [message_id] and not (is_fault and not related):
        raise Malformed("SOAP answer", "it does not relate to our message")
    if is_fault:
        return _read_fault(body)
    for include in body.iter(f"{{{codes.XOP}}}Include"):
        resolved(message, include.get("href", ""))
    return Answer(body, message)


def read_document(answer: Answer, unique_id: str) -> bytes:
    """The bytes of the one document asked for in an ITI-43 answer. Raises Malformed when it is not there once."""
    found = [
        response
        for response in answer.body.findall("xdsb:DocumentResponse", NAMESPACES)
        if (response.findtext("xdsb:DocumentUniqueId", "", NAMESPACES) or "").strip() == unique_id
    ]
    documents = found[0].findall("xdsb:Document", NAMESPACES) if len(found) == 1 else []
    if len(documents) != 1:
        raise Malformed("retrieve response", "the document asked for is not there once")
    include = documents[0].find("xop:Include", NAMESPACES)
    if include is not None:
        return resolved(answer.message, include.get("href", ""))
    return read_base64((documents[0].text or "").encode("utf-8"))


def _read_fault(fault: etree._Element) -> Fault:
    _, code = _qualified(fault.find("soap:Code/soap:Value", NAMESPACES))
    namespace, subcode = _qualified(fault.find("soap:Code/soap:Subcode/soap:Value", NAMESPACES))
    return Fault(code, subcode, namespace.startswith(_WSS))


def _qualified(value: etree._Element | None) -> tuple[str, str]:
    """The namespace and the local name of an xs:QName in element content."""
    if value is None:
        return "", ""
    prefix, _, local = (value.text or "").strip().rpartition(":")
    return value.nsmap.get(prefix or None) or "", local[:64]
