"""The Pro Santé Connect of the sandbox: the whole sign-in, and each missing element refused."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2  # noqa: TID251  the browser and the relying party of these tests
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from drimbox.sandbox.psc import create_psc

ISSUER = "http://127.0.0.1:9000/auth/realms/esante-wallet"
BACK = "http://127.0.0.1:8080/login/callback"
# The pair of RFC 7636 appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
RADIOLOGIST = "899700000011"
REQUEST = {
    "response_type": "code",
    "client_id": "drimbox-sandbox",
    "redirect_uri": BACK,
    "scope": "openid scope_all",
    "state": "a-state",
    "nonce": "a-nonce",
    "acr_values": "eidas1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "login_hint": RADIOLOGIST,
}


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def wait(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def browser(clock: Clock) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(create_psc(ISSUER, clock))
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield client


async def sent_back(browser: httpx2.AsyncClient, **changes: str | None) -> dict[str, str]:
    """What comes back on the redirect URI."""
    query = {name: value for name, value in (REQUEST | changes).items() if value is not None}
    answer = await browser.get("auth", params=query)
    assert answer.status_code == 303
    location = urlsplit(answer.headers["location"])
    assert location._replace(query="").geturl() == BACK
    return {name: values[0] for name, values in parse_qs(location.query, strict_parsing=True).items()}


async def redeem(browser: httpx2.AsyncClient, given: str, **changes: str | None) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": "drimbox-sandbox",
        "redirect_uri": BACK,
        "code": given,
        "code_verifier": VERIFIER,
    } | changes
    return await browser.post("token", data={name: value for name, value in form.items() if value is not None})


async def signed_in(browser: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await redeem(browser, (await sent_back(browser))["code"])
    assert answer.status_code == 200
    tokens: dict[str, Any] = answer.json()
    return tokens


async def refresh(browser: httpx2.AsyncClient, token: str, client_id: str = "drimbox-sandbox") -> httpx2.Response:
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
    return await browser.post("token", data=form)


async def introspect(browser: httpx2.AsyncClient, token: str) -> dict[str, Any]:
    answer = await browser.post("introspect", data={"token": token, "client_id": "another-drimbox"})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_discovery_names_the_endpoints(browser: httpx2.AsyncClient) -> None:
    found = (await browser.get(".well-known/openid-configuration")).json()
    assert found["issuer"] == ISSUER
    assert found["token_endpoint"] == f"{ISSUER}/token"
    assert found["introspection_endpoint"] == f"{ISSUER}/introspect"
    assert found["code_challenge_methods_supported"] == ["S256"]


async def test_the_whole_sign_in(browser: httpx2.AsyncClient, clock: Clock) -> None:
    back = await sent_back(browser)
    assert back["state"] == "a-state"
    answer = await redeem(browser, back["code"])
    tokens = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"], tokens["refresh_expires_in"]) == ("Bearer", 120, 1800)

    header, claims, signature = tokens["id_token"].split(".")
    (key,) = (await browser.get("certs")).json()["keys"]
    numbers = rsa.RSAPublicNumbers(int.from_bytes(decoded(key["e"])), int.from_bytes(decoded(key["n"])))
    numbers.public_key().verify(decoded(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(decoded(header)) == {"alg": "RS256", "typ": "JWT", "kid": key["kid"]}
    told = json.loads(decoded(claims))
    now = int(clock.now().timestamp())
    assert (told["iss"], told["aud"], told["azp"], told["nonce"]) == (
        ISSUER,
        "drimbox-sandbox",
        "drimbox-sandbox",
        "a-nonce",
    )
    assert (told["iat"], told["exp"], told["auth_time"]) == (now, now + 120, now)
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert decoded(told["at_hash"]) == half

    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    person = (await browser.get("userinfo", headers=bearer)).json()
    assert (person["SubjectNameID"], person["sub"], person["family_name"]) == (RADIOLOGIST, told["sub"], "VALMONT")
    (practice,) = person["SubjectRefPro"]["exercices"]
    assert (practice["codeProfession"], practice["codeSavoirFaire"], practice["nomDexercice"]) == (
        "10",
        "SM44",
        "VALMONT",
    )
    assert practice["activities"][0]["ancienIdentifiantDeLaStructure"] == "10B0900001"

    seen = await introspect(browser, tokens["access_token"])
    assert seen["active"] is True
    assert (seen["azp"], seen["sub"], seen["SubjectNameID"]) == ("drimbox-sandbox", told["sub"], RADIOLOGIST)
    assert (seen["iat"], seen["exp"], seen["nonce"]) == (now, now + 120, "a-nonce")


async def test_without_a_hint_one_chooses(browser: httpx2.AsyncClient) -> None:
    query = {name: value for name, value in REQUEST.items() if name != "login_hint"}
    page = await browser.get("auth", params=query | {"state": '"><script>x</script>'})
    assert page.status_code == 200
    assert 'lang="fr"' in page.text
    assert "<script" not in page.text
    links = [part.split('"')[0].replace("&amp;", "&") for part in page.text.split('<a href="')[1:]]
    assert len(links) == 3
    answer = await browser.get(f"auth{links[1]}")
    assert answer.status_code == 303
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    tokens = (await redeem(browser, code)).json()
    person = (await browser.get("userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})).json()
    assert len(person["SubjectRefPro"]["exercices"][0]["activities"]) == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": None}, "invalid_request"),
        ({"nonce": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"acr_values": None}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "scope_all"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
    ],
)
async def test_an_incomplete_request_gets_no_code(
    browser: httpx2.AsyncClient, changes: dict[str, str | None], error: str
) -> None:
    back = await sent_back(browser, **changes)
    assert back["error"] == error
    assert "code" not in back


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1:8080/#x"},
        {"redirect_uri": "http://[::1"},
        {"client_id": None},
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_ours(
    browser: httpx2.AsyncClient, changes: dict[str, str | None]
) -> None:
    query = {name: value for name, value in (REQUEST | changes).items() if value is not None}
    answer = await browser.get("auth", params=query)
    assert (answer.status_code, "location" in answer.headers) == (400, False)


async def test_a_repeated_parameter_is_refused(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("auth", params=[*REQUEST.items(), ("state", "other")])
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code": "unknown"}, 400, "invalid_grant"),
        ({"code": None}, 400, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:8080/other"}, 400, "invalid_grant"),
        ({"redirect_uri": None}, 400, "invalid_grant"),
        ({"code_verifier": None}, 400, "invalid_grant"),
        ({"code_verifier": VERIFIER[:-1] + "X"}, 400, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, 400, "invalid_grant"),
        ({"client_id": "somebody-else"}, 400, "invalid_grant"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"client_secret": "hunter2"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_not_given_away(
    browser: httpx2.AsyncClient, changes: dict[str, str | None], status: int, error: str
) -> None:
    answer = await redeem(browser, (await sent_back(browser))["code"], **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_code_serves_once_and_a_second_use_withdraws_the_tokens(browser: httpx2.AsyncClient) -> None:
    code = (await sent_back(browser))["code"]
    tokens = (await redeem(browser, code)).json()
    assert (await redeem(browser, code)).json()["error"] == "invalid_grant"
    assert await introspect(browser, tokens["access_token"]) == {"active": False}
    assert (await refresh(browser, tokens["refresh_token"])).status_code == 400


async def test_a_code_lives_one_minute(browser: httpx2.AsyncClient, clock: Clock) -> None:
    code = (await sent_back(browser))["code"]
    clock.wait(60)
    assert (await redeem(browser, code)).json()["error"] == "invalid_grant"


async def test_an_access_token_lives_two_minutes(browser: httpx2.AsyncClient, clock: Clock) -> None:
    tokens = await signed_in(browser)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    clock.wait(119)
    assert (await introspect(browser, tokens["access_token"]))["active"] is True
    clock.wait(1)
    assert await introspect(browser, tokens["access_token"]) == {"active": False}
    refused = await browser.get("userinfo", headers=bearer)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


async def test_a_refresh_token_lives_thirty_minutes_and_serves_once(browser: httpx2.AsyncClient, clock: Clock) -> None:
    first = await signed_in(browser)
    clock.wait(1799)
    second = (await refresh(browser, first["refresh_token"])).json()
    assert (await introspect(browser, second["access_token"]))["active"] is True
    assert (await refresh(browser, first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await refresh(browser, second["refresh_token"], "somebody-else")).json()["error"] == "invalid_grant"
    clock.wait(1800)
    assert (await refresh(browser, second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_session_ends_after_four_hours(browser: httpx2.AsyncClient, clock: Clock) -> None:
    tokens = await signed_in(browser)
    for _ in range(9):
        clock.wait(1500)
        tokens = (await refresh(browser, tokens["refresh_token"])).json()
    assert tokens["refresh_expires_in"] == 4 * 3600 - 9 * 1500
    clock.wait(4 * 3600 - 9 * 1500)
    assert (await refresh(browser, tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_tokens_are_of_one_kind_only(browser: httpx2.AsyncClient) -> None:
    tokens = await signed_in(browser)
    for wrong in (tokens["refresh_token"], tokens["id_token"], "", "unknown"):
        answer = await browser.get("userinfo", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401
    assert await introspect(browser, tokens["refresh_token"]) == {"active": False}
    assert (await refresh(browser, tokens["access_token"])).json()["error"] == "invalid_grant"
    basic = await browser.get("userinfo", headers={"Authorization": f"Basic {tokens['access_token']}"})
    assert basic.status_code == 401


async def test_introspection_needs_a_client(browser: httpx2.AsyncClient) -> None:
    answer = await browser.post("introspect", data={"token": "x"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_logout_withdraws_everything(browser: httpx2.AsyncClient) -> None:
    tokens = await signed_in(browser)
    query = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BACK, "state": "bye"}
    answer = await browser.get("logout", params=query)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BACK}?state=bye")
    assert await introspect(browser, tokens["access_token"]) == {"active": False}
    assert (await refresh(browser, tokens["refresh_token"])).status_code == 400


async def test_logout_is_no_open_redirect(browser: httpx2.AsyncClient) -> None:
    tokens = await signed_in(browser)
    query = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": "https://evil.example/"}
    assert (await browser.get("logout", params=query)).status_code == 400
    assert (await browser.get("logout", params={"id_token_hint": "forged"})).status_code == 400
    assert (await browser.get("logout")).status_code == 400
