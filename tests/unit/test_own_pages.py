"""Who may act through a browser that reaches us: our own pages, and those the operator names."""

import pytest

from drimbox.portal.own_pages import OwnPages

PUBLIC = "https://vi1.example.test"
RETRIEVE = "https://db1.example.test:8443/rs"
VIEWER = "https://viewer.example.test"


async def status_of(method, host="127.0.0.1:8080", origin=None, by_name=True):
    """The status of a request with these headers; 200 when it was let through."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode())] if host is not None else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    pages = OwnPages(app, (PUBLIC, RETRIEVE, ""), (VIEWER,), by_name=by_name)
    await pages({"type": "http", "method": method, "headers": headers, "path": "/"}, None, send)
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("192.0.2.7", 200),
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("vi1.example.test", 200),
        ("db1.example.test:8443", 200),
        (None, 200),
        ("attacker.example", 403),
        ("127.0.0.1.attacker.example:8080", 403),
        ("localhost.attacker.example", 403),
        ("vi1.example.test.attacker.example", 403),
        ("[::1", 403),
        ("2130706433", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_by_which_names_this_machine_may_be_called(method, host, status):
    assert await status_of(method, host) == status
    assert await status_of(method, host, by_name=False) == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:8080", None, 200),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", 200),
        ("localhost:8080", "http://localhost:8080", 200),
        ("127.0.0.1:8080", PUBLIC, 200),
        ("127.0.0.1:8080", VIEWER, 200),
        ("127.0.0.1:8080", "http://127.0.0.1:9999", 403),
        ("127.0.0.1:8080", "https://attacker.example", 403),
        ("127.0.0.1:8080", "https://vi1.example.test.attacker.example", 403),
        ("127.0.0.1:8080", "null", 403),
        ("127.0.0.1:8080", "", 200),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_from_which_pages_something_may_be_changed(method, host, origin, status):
    assert await status_of(method, host, origin) == status
    assert await status_of("GET", host, origin) == 200
