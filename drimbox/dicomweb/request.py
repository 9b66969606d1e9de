"""A GET as this door sees it: headers, query parameters, and who seems to ask."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.accept import MediaRange, parse_accept
from drimbox.errors import Malformed
from drimbox.model import Credentials

Scope = MutableMapping[str, Any]

MOST_QUERY_CHARACTERS: Final = 16384
MOST_PARAMETERS: Final = 100
MOST_VALUE_CHARACTERS: Final = 4096  # sixty UIDs


@dataclass(frozen=True, slots=True)
class Request:
    """headers: names in lower case; a repeated header is joined with commas. parameters: in order, decoded.

    is_head: only the head of the answer is wanted.
    """

    headers: Mapping[str, str]
    parameters: tuple[tuple[str, str], ...]
    credentials: Credentials
    is_head: bool = False

    @property
    def accept(self) -> tuple[MediaRange, ...]:
        """What the caller accepts: the query parameter `accept` where there is one, for want of the header."""
        asked = [value for name, value in self.parameters if name == "accept"]
        return parse_accept(asked or [self.headers.get("accept", "")])


def read_request(scope: Scope) -> Request:
    """Read an ASGI scope. Raises Malformed."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    parameters = _read_parameters(scope["query_string"])
    return Request(headers, parameters, _read_credentials(scope, headers), scope["method"] == "HEAD")


def _read_parameters(query: bytes) -> tuple[tuple[str, str], ...]:
    if len(query) > MOST_QUERY_CHARACTERS:
        raise Malformed("query", f"more than {MOST_QUERY_CHARACTERS} characters")
    fields = [field for field in query.decode("latin-1").split("&") if field]
    if len(fields) > MOST_PARAMETERS:
        raise Malformed("query", f"more than {MOST_PARAMETERS} parameters")
    return tuple(_read_parameter(field) for field in fields)


def _read_parameter(field: str) -> tuple[str, str]:
    name, _, value = field.partition("=")
    if name != "accept":  # `application/dicom+json` is written with a bare plus; elsewhere plus is a space
        value = value.replace("+", " ")
    try:
        name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise Malformed("query", "not UTF-8 (PS3.18 §8.3)") from error
    if len(name) > MOST_VALUE_CHARACTERS or len(value) > MOST_VALUE_CHARACTERS:
        raise Malformed("query", f"a parameter has more than {MOST_VALUE_CHARACTERS} characters")
    return name, value


def _read_credentials(scope: Scope, headers: Mapping[str, str]) -> Credentials:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    manifest = headers.get("kos-sopinstanceuid", "").strip()
    tls = scope.get("extensions", {}).get("tls") or {}
    client = scope.get("client")
    return Credentials(
        door="http",
        address=client[0] if client else "",
        certificate=tls.get("client_cert_name") or "",
        token=token.strip() if scheme.lower() == "bearer" else "",
        manifest_uid=checked_uid(manifest) if manifest else "",
    )
