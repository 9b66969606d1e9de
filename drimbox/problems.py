"""Refusals as RFC 9457 problem documents: the table of the two HTTP doors, dicomweb and portal."""

import logging
import secrets

import orjson

from drimbox.errors import (
    Conflict,
    Corrupt,
    Denied,
    DrimboxError,
    Malformed,
    NoSpace,
    NotAcceptable,
    NotFound,
    TooLarge,
    Unavailable,
    Unidentified,
)

log = logging.getLogger(__name__)

HTTP_STATUS: dict[type[DrimboxError], int] = {  # RFC 9110 §15, RFC 4918 §11.5
    Malformed: 400,
    Unidentified: 401,
    Denied: 403,
    NotFound: 404,
    NotAcceptable: 406,
    Conflict: 409,
    TooLarge: 413,
    Corrupt: 500,
    Unavailable: 503,
    NoSpace: 507,
}

TITLES = {
    400: "The request cannot be read",
    401: "Authentication is needed",
    403: "Access is refused",
    404: "Not found",
    405: "This method is not possible here",
    406: "Not available in an accepted form",
    409: "It contradicts what is kept",
    413: "Too large",
    415: "This form cannot be read here",
    500: "The node failed",
    503: "Unavailable for now",
    507: "No space left",
}

RETRY_AFTER_S = 5

Headers = list[tuple[bytes, bytes]]


def refuse(error: BaseException, door: str = "dicomweb") -> tuple[int, Headers, bytes]:
    """The status, headers and body that answer `error`, which is logged under an incident number.

    A leaf of the error tree says what and why; anything else is a bug, of which nothing is said outside.
    """
    incident = secrets.token_hex(8)
    if isinstance(error, DrimboxError):
        status = HTTP_STATUS[type(error)]
        fields = {"incident": incident, "door": door, "status": status, "refusal": str(error), "detail": error.detail}
        log.log(logging.ERROR if status == 500 else logging.INFO, "request_refused", extra=fields)
        said = "" if status == 500 else str(error)
    else:
        status, said = 500, ""
        fields = {"incident": incident, "door": door, "status": status}
        log.error("request_failed", extra=fields, exc_info=error)
    return problem(status, said, incident)


def problem(status: int, detail: str = "", incident: str = "") -> tuple[int, Headers, bytes]:
    """A problem document. detail: words of ours only, never what the caller wrote."""
    body: dict[str, object] = {"type": "about:blank", "title": TITLES.get(status, "Refused"), "status": status}
    if detail:
        body["detail"] = detail
    if incident:
        body["incident"] = incident
    headers: Headers = [(b"content-type", b"application/problem+json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    return status, headers, orjson.dumps(body)
