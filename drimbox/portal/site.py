"""The pages people open: the portal at `/`, the viewer at `/viewer/`, as the front end was built into the wheel."""

from pathlib import Path
from typing import Final

from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from drimbox.problems import problem

BUILT: Final = Path(__file__).parent / "static" / "viewer"

# Cornerstone3D compiles its codecs from WebAssembly, and styles the text beside a measure; the report comes in a frame.
# Nothing else is let in.
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; style-src 'self'; style-src-attr 'unsafe-inline'; font-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}

_NOT_BUILT: Final = """<!doctype html><html lang="fr"><meta charset="utf-8"><title>DRIMbox</title>
<h1>La visionneuse n'est pas construite</h1>
<p>Le nœud fonctionne ; ses pages manquent. Installez Node.js 20 ou plus récent, puis lancez
<code>scripts/install</code>.</p>
<h2 lang="en">The viewer is not built</h2>
<p lang="en">The node works; its pages are missing. Install Node.js 20 or newer, then run
<code>scripts/install</code>.</p></html>"""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


def is_built() -> bool:
    """Were the pages built into this installation?"""
    return (BUILT / "index.html").is_file()


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """The pages as an ASGI application: every file is one of the build, looked up and never computed from the path."""
    accepted = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
    await _page(scope["path"], scope["method"], b"gzip" in accepted)(scope, receive, send)


def _page(path: str, method: str, gzipped: bool) -> Response:
    if method not in ("GET", "HEAD"):
        return _refusal(405)
    if not is_built():
        return HTMLResponse(_NOT_BUILT, status_code=503, headers=HEADERS)
    pages = {"/": "portal.html", "/viewer": "index.html", "/viewer/": "index.html"}
    name = pages.get(path, path.removeprefix("/viewer/"))
    file = _files().get(name)
    if file is None:
        return _refusal(404)
    # The names of assets hold a hash of their content; each has a copy compressed at build time beside it.
    caching = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
    headers = HEADERS | {"cache-control": caching, "vary": "accept-encoding"}
    kind = _TYPES.get(file.suffix, "application/octet-stream")
    if gzipped and (small := _files().get(f"{name}.gz")):
        return FileResponse(small, headers=headers | {"content-encoding": "gzip"}, media_type=kind)
    return FileResponse(file, headers=headers, media_type=kind)


_LISTED: dict[str, Path] = {}


def _files() -> dict[str, Path]:
    """The files of the build by their name below it; listed once."""
    if not _LISTED:
        _LISTED.update({str(file.relative_to(BUILT)): file for file in BUILT.rglob("*") if file.is_file()})
    return _LISTED


def _refusal(status: int) -> Response:
    code, headers, body = problem(status)
    return Response(body, code, {name.decode(): value.decode() for name, value in headers})
