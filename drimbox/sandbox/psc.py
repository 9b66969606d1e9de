"""Pro Santé Connect, played on loopback: an OpenID Connect provider, stricter than the real one.

Authorization code with PKCE (OpenID Connect Core 1.0 §3.1, RFC 7636), introspection (RFC 7662), logout (OpenID Connect
RP-Initiated Logout 1.0). There is no password and no client secret: whoever reaches it chooses who to be, so it
listens on loopback only. Sign-in lasts as in service: access 2 minutes, refresh 30 minutes, session 4 hours.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drimbox.sandbox.professionals import PROFESSIONALS, SandboxProfessional, build_user_info
from drimbox.sandbox.psc_wire import (
    NO_STORE,
    Refused,
    check_authorization,
    checked_redirect_uri,
    choice_page,
    error_answer,
    page,
    read_client_form,
    read_form,
    redirect,
)

CODE_S = 60
ACCESS_S = 120
REFRESH_S = 1800
SESSION_S = 4 * 3600

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)  # RFC 7636 §4.1


class Clock(Protocol):
    """Where the time comes from; `drimbox.clock` is one."""

    def now(self) -> datetime:
        """The date and time, aware."""


def create_psc(issuer_url: str, clock: Clock) -> Starlette:
    """The provider as an ASGI application; its paths begin with the path of `issuer_url`."""
    provider = _Provider(issuer_url.rstrip("/"), clock)
    root = urlsplit(provider.issuer).path
    return Starlette(
        routes=[
            Route(f"{root}/.well-known/openid-configuration", provider.discovery),
            Route(f"{root}/auth", provider.authorize),
            Route(f"{root}/token", provider.token, methods=["POST"]),
            Route(f"{root}/userinfo", provider.user_info, methods=["GET", "POST"]),
            Route(f"{root}/introspect", provider.introspect, methods=["POST"]),
            Route(f"{root}/certs", provider.certs),
            Route(f"{root}/logout", provider.logout),
        ]
    )


@dataclass
class _Session:
    """One professional signed in at one client. `alive` is False after a logout or a code used twice."""

    id: str
    client_id: str
    professional: SandboxProfessional
    nonce: str
    scope: str
    started: int
    alive: bool = True

    @property
    def subject(self) -> str:
        return f"f:sandbox:{self.professional.national_id}"


@dataclass
class _Code:
    session: _Session
    redirect_uri: str
    challenge: str
    expires: int
    used: bool = False


@dataclass
class _Token:
    kind: Literal["access", "refresh", "id"]
    session: _Session
    issued: int
    expires: int


@dataclass
class _Provider:
    issuer: str
    clock: Clock
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    codes: dict[str, _Code] = field(default_factory=dict)
    tokens: dict[str, _Token] = field(default_factory=dict)

    async def discovery(self, _request: Request) -> Response:
        """OpenID Connect Discovery 1.0 §3."""
        paths = {
            "authorization_endpoint": "auth",
            "token_endpoint": "token",
            "userinfo_endpoint": "userinfo",
            "introspection_endpoint": "introspect",
            "jwks_uri": "certs",
            "end_session_endpoint": "logout",
        }
        return JSONResponse(
            {
                "issuer": self.issuer,
                **{name: f"{self.issuer}/{path}" for name, path in paths.items()},
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": ["openid", "scope_all"],
                "acr_values_supported": ["eidas1"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        """The page on which one chooses who to be, or at once the code when `login_hint` names somebody."""
        try:
            query = read_form(request.url.query)
            redirect_uri = checked_redirect_uri(query)
            if "client_id" not in query:  # RFC 6749 §4.1.2.1: then nobody is sent back
                raise Refused("invalid_request", "client_id est exigé")
        except Refused as refused:
            return page("Demande refusée", refused.description, 400)
        try:
            check_authorization(query)
        except Refused as refused:
            answer = {"error": refused.error, "error_description": refused.description, "state": query.get("state", "")}
            return redirect(redirect_uri, answer)
        chosen = next((one for one in PROFESSIONALS if one.national_id == query.get("login_hint")), None)
        if chosen is None:
            return choice_page(query)
        now = self._now()
        session = _Session(
            secrets.token_urlsafe(16), query["client_id"], chosen, query["nonce"], query["scope"], started=now
        )
        code = secrets.token_urlsafe(32)
        self.codes = {value: one for value, one in self.codes.items() if one.expires + SESSION_S > now}
        self.codes[code] = _Code(session, redirect_uri, query["code_challenge"], now + CODE_S)
        return redirect(redirect_uri, {"code": code, "state": query["state"], "session_state": session.id})

    async def token(self, request: Request) -> Response:
        """RFC 6749 §4.1.3 and §6. A refresh token serves once: its answer brings the next."""
        try:
            form = read_client_form(await request.body())
            match form.get("grant_type"):
                case "authorization_code":
                    session = self._redeem(form)
                case "refresh_token":
                    session = self._find(form.get("refresh_token", ""), "refresh", form["client_id"]).session
                    del self.tokens[form["refresh_token"]]
                case _:
                    raise Refused("unsupported_grant_type", "authorization_code or refresh_token")
        except Refused as refused:
            return error_answer(refused)
        return JSONResponse(self._issue(session), headers=NO_STORE)

    async def user_info(self, request: Request) -> Response:
        """OpenID Connect Core §5.3, with what Pro Santé Connect adds."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Refused("invalid_token", "a bearer token is required")
            session = self._find(token, "access").session
        except Refused:
            return Response(status_code=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return JSONResponse(build_user_info(session.professional, session.subject), headers=NO_STORE)

    async def introspect(self, request: Request) -> Response:
        """RFC 7662. Any client may ask: a DRIMbox checks tokens another one obtained."""
        try:
            form = read_client_form(await request.body())
        except Refused as refused:
            return error_answer(refused)
        try:
            token = self._find(form.get("token", ""), "access")
        except Refused:
            return JSONResponse({"active": False}, headers=NO_STORE)
        answer = {
            "active": True,
            "token_type": "Bearer",
            "iss": self.issuer,
            "sub": token.session.subject,
            "azp": token.session.client_id,
            "client_id": token.session.client_id,
            "scope": token.session.scope,
            "exp": token.expires,
            "iat": token.issued,
            "auth_time": token.session.started,
            "nonce": token.session.nonce,
            "acr": "eidas1",
            "SubjectNameID": token.session.professional.national_id,
        }
        return JSONResponse(answer, headers=NO_STORE)

    async def certs(self, _request: Request) -> Response:
        """RFC 7517."""
        return JSONResponse({"keys": [{**self._jwk(), "kid": self._kid(), "use": "sig", "alg": "RS256"}]})

    async def logout(self, request: Request) -> Response:
        """Ends the session the ID token belongs to; goes back only to loopback."""
        try:
            query = read_form(request.url.query)
            token = self.tokens.get(query.get("id_token_hint", ""))
            if token is None or token.kind != "id":
                raise Refused("invalid_request", "id_token_hint : jeton inconnu")
            token.session.alive = False
            if "post_logout_redirect_uri" not in query:
                return page("Déconnexion", "Vous êtes déconnecté.")
            target = checked_redirect_uri(query, "post_logout_redirect_uri")
        except Refused as refused:
            return page("Demande refusée", refused.description, 400)
        return redirect(target, {"state": query["state"]} if "state" in query else {})

    def _now(self) -> int:
        return int(self.clock.now().timestamp())

    def _redeem(self, form: Mapping[str, str]) -> _Session:
        """RFC 6749 §4.1.2: a code is bound to its client and redirect URI; used twice, all it gave is withdrawn."""
        code = self.codes.get(form.get("code", ""))
        if code is None:
            raise Refused("invalid_grant", "unknown code")
        if code.used:
            code.session.alive = False
            raise Refused("invalid_grant", "the code was used before")
        code.used = True
        verifier = form.get("code_verifier", "")
        digest = _base64url(hashlib.sha256(verifier.encode()).digest())
        if self._now() >= code.expires:
            raise Refused("invalid_grant", "the code has expired")
        if form["client_id"] != code.session.client_id or form.get("redirect_uri") != code.redirect_uri:
            raise Refused("invalid_grant", "the code was given to another client or redirect_uri")
        if not _VERIFIER.fullmatch(verifier) or not secrets.compare_digest(digest, code.challenge):
            raise Refused("invalid_grant", "code_verifier is not the one of the challenge")
        return code.session

    def _find(self, value: str, kind: str, client_id: str | None = None) -> _Token:
        token = self.tokens.get(value)
        if token is None or token.kind != kind or not token.session.alive or self._now() >= token.expires:
            raise Refused("invalid_grant", "unknown or expired token")
        if client_id is not None and token.session.client_id != client_id:
            raise Refused("invalid_grant", "the token was given to another client")
        return token

    def _issue(self, session: _Session) -> dict[str, Any]:
        now = self._now()
        self.tokens = {value: token for value, token in self.tokens.items() if token.expires > now}
        session_end = session.started + SESSION_S
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        claims = {
            "iss": self.issuer,
            "sub": session.subject,
            "aud": session.client_id,
            "azp": session.client_id,
            "exp": now + ACCESS_S,
            "iat": now,
            "auth_time": session.started,
            "jti": secrets.token_hex(16),
            "sid": session.id,
            "nonce": session.nonce,
            "acr": "eidas1",
            "at_hash": _base64url(hashlib.sha256(access.encode()).digest()[:16]),
            "preferred_username": session.professional.national_id,
        }
        id_token = self._sign(claims)
        refresh_end = min(now + REFRESH_S, session_end)
        self.tokens[access] = _Token("access", session, now, min(now + ACCESS_S, session_end))
        self.tokens[refresh] = _Token("refresh", session, now, refresh_end)
        self.tokens[id_token] = _Token("id", session, now, session_end)
        return {
            "access_token": access,
            "expires_in": ACCESS_S,
            "refresh_token": refresh,
            "refresh_expires_in": refresh_end - now,
            "token_type": "Bearer",
            "id_token": id_token,
            "scope": session.scope,
            "session_state": session.id,
        }

    def _jwk(self) -> dict[str, str]:
        numbers = self.key.public_key().public_numbers()
        exponent, modulus = (_base64url(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.e, numbers.n))
        return {"e": exponent, "kty": "RSA", "n": modulus}

    def _kid(self) -> str:
        """RFC 7638: the digest of the key's members in this very order."""
        return _base64url(hashlib.sha256(_compact(self._jwk())).digest())

    def _sign(self, claims: Mapping[str, Any]) -> str:
        """RFC 7515 §7.1, RS256."""
        header = {"alg": "RS256", "typ": "JWT", "kid": self._kid()}
        signed = f"{_base64url(_compact(header))}.{_base64url(_compact(claims))}"
        return f"{signed}.{_base64url(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
