"""What crosses the wire of the sandbox's Pro Santé Connect: forms read strictly, pages and refusals written."""

import html
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from drimbox.sandbox.professionals import PROFESSIONALS
from drimbox.settings import is_loopback

NO_STORE = {"Cache-Control": "no-store"}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # BASE64URL(SHA-256), RFC 7636 §4.2


class Refused(Exception):
    """An OAuth error response (RFC 6749 §4.1.2.1, §5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


def read_form(text: str) -> dict[str, str]:
    """application/x-www-form-urlencoded, each parameter once (RFC 6749 §3.1) and not empty."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=40)
    except ValueError as error:
        raise Refused("invalid_request", "paramètres illisibles") from error
    form = dict(pairs)
    if len(form) != len(pairs) or "" in form.values():
        raise Refused("invalid_request", "un paramètre est répété ou vide")
    return form


def read_client_form(body: bytes) -> dict[str, str]:
    """A form with who sends it. No secret: in service the client shows its certificate (RFC 8705)."""
    form = read_form(body.decode("utf-8", "replace"))
    if "client_secret" in form or "client_id" not in form:
        raise Refused("invalid_client", "client_id is required, client_secret is not accepted")
    return form


def checked_redirect_uri(query: Mapping[str, str], name: str = "redirect_uri") -> str:
    """The address to go back to, when it is on this machine; the code or the session is then bound to it."""
    uri = query.get(name, "")
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not is_loopback(host) or parts.fragment or parts.username is not None:
        raise Refused("invalid_request", f"{name} : une adresse de cette machine est exigée")
    return uri


def check_authorization(query: Mapping[str, str]) -> None:
    """Everything a request must have beside `redirect_uri` (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3)."""
    if query.get("response_type") != "code":
        raise Refused("unsupported_response_type", "response_type=code")
    for name in ("state", "nonce"):
        if name not in query:
            raise Refused("invalid_request", f"{name} is required")
    if not {"openid", "scope_all"} <= set(query.get("scope", "").split(" ")):
        raise Refused("invalid_scope", "scope=openid scope_all")
    if query.get("acr_values") != "eidas1":
        raise Refused("invalid_request", "acr_values=eidas1")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
        raise Refused("invalid_request", "code_challenge with code_challenge_method=S256")


def choice_page(query: Mapping[str, str]) -> Response:
    """The page on which one chooses who to be: the same request again, with a `login_hint`."""
    links = "".join(
        f'<li><a href="?{html.escape(urlencode({**query, "login_hint": one.national_id}))}">'
        f"{html.escape(f'{one.given.title()} {one.family}')}</a> — {html.escape(one.shown)}</li>"
        for one in PROFESSIONALS
    )
    text = "Bac à sable : ces professionnels sont inventés. Qui voulez-vous être ?"
    return page("Pro Santé Connect (bac à sable)", text, more=f"<ul>{links}</ul>")


def page(title: str, text: str, status: int = 200, more: str = "") -> Response:
    """A page for people. `more` is HTML."""
    head = f'<!doctype html><html lang="fr"><meta charset="utf-8"><title>{title}</title>'
    policy = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(
        f"{head}<h1>{title}</h1><p>{html.escape(text)}</p>{more}</html>", status, headers=NO_STORE | policy
    )


def redirect(uri: str, parameters: Mapping[str, str]) -> Response:
    """Back to the client, with the parameters that are not empty."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    separator = "&" if urlsplit(uri).query else "?"
    return RedirectResponse(f"{uri}{separator}{query}" if query else uri, 303, headers=NO_STORE)


def error_answer(refused: Refused) -> Response:
    """RFC 6749 §5.2."""
    status = 401 if refused.error == "invalid_client" else 400
    answer = {"error": refused.error, "error_description": refused.description}
    return JSONResponse(answer, status, headers=NO_STORE)
