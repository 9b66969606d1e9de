"""How the sandbox DMP reads a request and writes an answer: HTTP body, MTOM, SOAP 1.2, WS-Addressing.

It shares nothing with the product: requests are read with the standard `email` package and XPath, answers are written
as text. It is strict where a real server may be, so that what passes here has a chance there.
"""

import base64
import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

NAMES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://www.w3.org/2005/08/addressing",
    "o": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "x": "http://www.w3.org/2004/08/xop/include",
    "r": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "l": "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "q": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "b": "urn:ihe:iti:xds-b:2007",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "hl7": "urn:hl7-org:v3",
    "h": "urn:si-dmp-habilitations",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}

_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Fault(Exception):
    """The request is not one we can take: a SOAP fault."""

    def __init__(self, reason: str, code: str = "Sender", subcode: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.subcode = subcode


@dataclass(frozen=True, slots=True)
class Request:
    """A request that passed the checks of transport and addressing. parts: by Content-ID."""

    message_id: str
    action: str
    envelope: Any
    body: Any
    parts: dict[str, bytes]


def read_request(content_type: str, content: bytes, url: str, action: str) -> Request:
    """Check and read one request. Raises Fault."""
    outer = Message()
    outer["Content-Type"] = content_type
    if outer.get_content_type() == "multipart/related":
        envelope_bytes, parts = _read_related(content_type, content, action)
    else:
        _require(outer.get_content_type() == "application/soap+xml", "media type")
        _require(outer.get_param("action") in (None, action), "action parameter")
        envelope_bytes, parts = content, {}
    _require(b"<!DOCTYPE" not in envelope_bytes, "DOCTYPE")
    try:
        envelope = etree.fromstring(envelope_bytes, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise Fault("XML") from error
    _require(envelope.tag == f"{{{NAMES['s']}}}Envelope", "SOAP 1.2 envelope")
    message_id = _one(envelope, "s:Header/a:MessageID/text()")
    _require(_one(envelope, "s:Header/a:Action/text()") == action, "Action")
    _require(_one(envelope, "s:Header/a:Action/@s:mustUnderstand") in ("1", "true"), "Action must be understood")
    _require(_one(envelope, "s:Header/a:To/text()") == url, "To")
    _require(_one(envelope, "s:Header/a:ReplyTo/a:Address/text()") == f"{NAMES['a']}/anonymous", "ReplyTo")
    _require(bool(_UUID.fullmatch(message_id)), "MessageID")
    _check_references(envelope, parts)
    return Request(message_id, action, envelope, _one(envelope, "s:Body/*"), parts)


def _read_related(content_type: str, content: bytes, action: str) -> tuple[bytes, dict[str, bytes]]:
    """RFC 2387 and the parameters that XOP demands."""
    raw = BytesParser().parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + content)
    _require(raw.is_multipart() and not raw.defects, "multipart")
    _require(raw.get_param("type") == "application/xop+xml", "type parameter")
    _require(raw.get_param("start-info") == "application/soap+xml", "start-info parameter")
    _require(raw.get_param("action") in (None, action), "action parameter")
    _require(len(str(raw.get_boundary())) <= 70, "boundary")
    leaves = [part for part in raw.walk() if not part.is_multipart()]
    parts: dict[str, bytes] = {}
    for part in leaves:
        content_id = str(part["Content-ID"] or "")
        _require(content_id.startswith("<") and content_id.endswith(">"), "Content-ID")
        _require(content_id[1:-1] not in parts, "Content-ID used twice")
        parts[content_id[1:-1]] = bytes(part.get_payload(decode=True) or b"")
    start = str(raw.get_param("start") or "").strip("<>")
    root = leaves[0]
    _require(str(root["Content-ID"]) == f"<{start}>", "the root is the first part")
    _require(root.get_content_type() == "application/xop+xml", "root media type")
    _require(str(root.get_param("type")).startswith("application/soap+xml"), "root type parameter")
    return parts.pop(start), parts


def _check_references(envelope: Any, parts: dict[str, bytes]) -> None:
    """Every cid resolved once, no part unused."""
    hrefs = [str(href) for href in envelope.xpath("//x:Include/@href", namespaces=NAMES)]
    _require(sorted(hrefs) == sorted(f"cid:{content_id}" for content_id in parts), "cid references")


def _one(node: Any, path: str) -> Any:
    found = node.xpath(path, namespaces=NAMES)
    _require(len(found) == 1, path)
    return found[0]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Fault(f"not as it should be: {what}")


# --- Answers --------------------------------------------------------------------------------------------------------


def write_answer(body: str, action: str, relates_to: str) -> bytes:
    """An envelope that answers the message `relates_to`."""
    related = f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo>" if relates_to else ""
    return (
        f'<s:Envelope xmlns:s="{NAMES["s"]}" xmlns:a="{NAMES["a"]}"><s:Header>'
        f'<a:Action s:mustUnderstand="1">{escape(action)}</a:Action>'
        f"<a:MessageID>urn:uuid:{uuid4()}</a:MessageID>{related}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def write_fault(fault: Fault, relates_to: str) -> bytes:
    """A SOAP 1.2 fault."""
    subcode = f"<s:Subcode><s:Value>o:{fault.subcode}</s:Value></s:Subcode>" if fault.subcode else ""
    body = (
        f'<s:Fault xmlns:o="{NAMES["o"]}"><s:Code><s:Value>s:{fault.code}</s:Value>{subcode}</s:Code>'
        f'<s:Reason><s:Text xml:lang="en">{escape(str(fault))}</s:Text></s:Reason></s:Fault>'
    )
    return write_answer(body, f"{NAMES['a']}/fault", relates_to)


def write_registry_response(status: str, errors: list[tuple[str, str]] | None = None, severity: str = "Error") -> str:
    """rs:RegistryResponse. errors: (code, context)."""
    return (
        f'<rs:RegistryResponse xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0" status="{status}">'
        f"{write_errors(errors or [], severity)}</rs:RegistryResponse>"
    )


def write_errors(errors: list[tuple[str, str]], severity: str = "Error") -> str:
    """rs:RegistryErrorList, or nothing."""
    if not errors:
        return ""
    severity = f'severity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:{severity}"'
    lines = [
        f"<rs:RegistryError errorCode={quoteattr(code)} codeContext={quoteattr(context)} {severity}/>"
        for code, context in errors
    ]
    namespace = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
    return f'<rs:RegistryErrorList xmlns:rs="{namespace}">{"".join(lines)}</rs:RegistryErrorList>'


def write_related(envelope: bytes, part: tuple[str, bytes], *, plain: bool) -> tuple[str, bytes]:
    """Pack an answer with its document; not `plain`: in ways that are legal and that nobody expects."""
    content_id, content = part
    boundary = uuid4().hex if plain else f"=_part, {uuid4().hex[:8]} '()+_,-./:=? x"
    encoding = "binary" if plain else "base64"
    data = content if plain else base64.encodebytes(content).replace(b"\n", b"\r\n")
    preamble = b"" if plain else b"This is a message in several parts.\r\n\r\n"
    start = 'start="<root>"; ' if plain else ""
    delimiter = b"--" + boundary.encode("ascii")
    body = b"".join(
        [
            preamble + delimiter + b"\r\nContent-ID: <root>\r\nContent-Transfer-Encoding: 8bit\r\n",
            b'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\n\r\n',
            envelope + b"\r\n" + delimiter + b"\r\n",
            f"content-id: <{content_id}>\r\ncontent-transfer-encoding: {encoding}\r\n".encode("ascii"),
            b"Content-Type: application/dicom\r\n\r\n" + data + b"\r\n" + delimiter + b"--\r\n",
        ]
    )
    return f'Multipart/Related; {start}boundary="{boundary}"; type="application/xop+xml"', body
