"""Pages of other origins: those that are named may read, nobody else, and never with cookies."""

from typing import Any

import pytest

from drimbox.dicomweb.cross_origin import CrossOrigin

VIEWER = "https://viewer.example.org"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 206, "headers": [(b"vary", b"accept")]})
    await send({"type": "http.response.body", "body": b"x"})


async def ask(origins: list[str], method: str = "GET", **given: str) -> tuple[int, list[tuple[str, str]], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    await CrossOrigin(origins)(app, {"type": "http", "method": method, "headers": headers}, receive, send)
    start, body = sent
    return start["status"], [(name.decode(), value.decode()) for name, value in start["headers"]], body["body"]


async def test_a_page_that_is_named_may_read() -> None:
    status, headers, body = await ask([VIEWER], origin=VIEWER)
    assert (status, body) == (206, b"x")
    told = dict(headers)
    assert told["access-control-allow-origin"] == VIEWER
    assert {"content-range", "etag", "warning"} <= set(told["access-control-expose-headers"].split(", "))
    assert "access-control-allow-credentials" not in told
    assert [value for name, value in headers if name == "vary"] == ["accept", "origin"]


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", f"{VIEWER}.evil.org", VIEWER.upper(), ""])
async def test_another_page_may_not(origin: str) -> None:
    given = {"origin": origin} if origin else {}
    for method in ("GET", "OPTIONS"):
        status, headers, _ = await ask([VIEWER], method, access_control_request_method="DELETE", **given)
        assert status == 206
        assert [name for name, _ in headers] == ["vary", "vary"]


async def test_the_question_before_is_answered_without_the_door() -> None:
    asked = {"access_control_request_method": "GET", "access_control_request_headers": "authorization"}
    status, headers, body = await ask([VIEWER], "OPTIONS", origin=VIEWER, **asked)
    assert (status, body) == (204, b"")
    told = dict(headers)
    assert "authorization" in told["access-control-allow-headers"]
    assert "DELETE" in told["access-control-allow-methods"]
    status, headers, _ = await ask([VIEWER], "OPTIONS", origin=VIEWER)
    assert (status, "access-control-allow-methods" in dict(headers)) == (206, False)


async def test_nothing_is_added_where_nobody_is_named() -> None:
    assert await ask([], origin=VIEWER) == (206, [("vary", "accept")], b"x")
