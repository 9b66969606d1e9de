"""What libxmlsec, the verifier of many servers, says of a signature; when it is installed.

It is a test dependency, absent from production. It opens no file and no address: what a manifest names is handed to it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_at_hand: dict[bytes, bytes] = {}


def agrees(
    signature: Any,
    identified: Sequence[tuple[Any, str]],
    certificate: x509.Certificate,
    documents: Mapping[str, bytes] | None = None,
) -> bool:
    """Does it verify? True where it is not installed.

    signature: ds:Signature. identified: each element that is signed, with the name of its id attribute. documents:
    bytes of what a manifest names, by URI.
    """
    if find_spec("xmlsec") is None:
        return True
    xmlsec = _library()
    context = xmlsec.SignatureContext()
    for element, name in identified:
        context.register_id(element, name)
    context.key = xmlsec.Key.from_memory(certificate.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatCertPem)
    _at_hand.update({uri.encode(): content for uri, content in (documents or {}).items()})
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    finally:
        _at_hand.clear()
    return True


@cache
def _library() -> Any:
    import xmlsec

    xmlsec.cleanup_callbacks()
    xmlsec.register_callbacks(
        lambda uri: uri in _at_hand,
        lambda uri: BytesIO(_at_hand[uri]),
        lambda handle, buffer: handle.readinto(buffer),
        lambda handle: None,
    )
    return xmlsec
