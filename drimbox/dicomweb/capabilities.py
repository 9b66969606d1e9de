"""What this service can do: one table, for `Allow`, WADL and JSON (PS3.18 §8.9.1) and for the conformance statement."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from drimbox.pixels.drawing import PICTURES

WADL: Final = "application/vnd.sun.wadl+xml"

_INSTANCE_PARTS = 'multipart/related; type="application/dicom"'
_XML_PARTS = 'multipart/related; type="application/dicom+xml"'
_FOUND = ("application/dicom+json", "application/json", _XML_PARTS)
_STORED = ("application/dicom+json", "application/json", "application/dicom+xml")
_SENT = (
    _INSTANCE_PARTS,
    "application/dicom",
    'multipart/related; type="application/dicom+json"',
    _XML_PARTS,
)
_HEADERS = ("Accept", "Authorization", "KOS-SOPInstanceUID", "Situation")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one resource. path: below the root; `{name}` is one segment, the last `{name...}` any number.

    answers, takes: media types. service: as PS3.18 names it.
    """

    service: str
    method: str
    path: str
    answers: tuple[str, ...]
    takes: tuple[str, ...] = ()


_STUDY = "studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_SOP = f"{_SERIES}/instances/{{instance}}"
_DESCRIBED = ("application/dicom+json", 'multipart/related; type="application/dicom+xml"')
_SHOWN = ("text/html", "text/plain", "application/pdf", "text/xml", "video/mpeg", "video/mp4")
_SEARCHES = ("studies", "series", "instances", f"{_STUDY}/series", f"{_STUDY}/instances", f"{_SERIES}/instances")

ROUTES: Final = (
    Route("Capabilities", "GET", "", ("application/json",)),
    *(Route("Search", "GET", path, _FOUND) for path in _SEARCHES),
    *(Route("Retrieve", "GET", path, (_INSTANCE_PARTS,)) for path in (_STUDY, _SERIES, _SOP)),
    *(Route("Retrieve", "GET", f"{path}/metadata", _DESCRIBED) for path in (_STUDY, _SERIES, _SOP)),
    Route("Retrieve", "GET", f"{_SOP}/frames/{{frames}}", ('multipart/related; type="application/octet-stream"',)),
    Route("Retrieve", "GET", f"{_SOP}/bulkdata/{{path...}}", ("application/octet-stream",)),
    *(
        Route("Retrieve", "GET", f"{path}/{kind}", ('multipart/related; type="application/octet-stream"',))
        for path in (_STUDY, _SERIES, _SOP)
        for kind in ("bulkdata", "pixeldata")
    ),
    *(
        Route("Retrieve", "GET", f"{path}/{form}", kinds)
        for path, shown in (*((one, _SHOWN) for one in (_STUDY, _SERIES, _SOP)), (f"{_SOP}/frames/{{frames}}", ()))
        for form, kinds in (("rendered", (*PICTURES, *shown)), ("thumbnail", PICTURES))
    ),
    *(Route("Store", "POST", path, _STORED, _SENT) for path in ("studies", _STUDY)),
    *(Route("Delete", "DELETE", path, ()) for path in (_STUDY, _SERIES, _SOP)),
)


def offered(services: Collection[str]) -> tuple[Route, ...]:
    """The routes of these services."""
    return tuple(route for route in ROUTES if route.service in services)


def allowed(routes: Sequence[Route], segments: Sequence[str]) -> str:
    """The value of `Allow` for a path, empty when no route has it."""
    methods = dict.fromkeys(route.method for route in routes if _is_at(route.path, segments))
    if not methods:
        return ""
    return ", ".join(name for method in methods for name in (("GET", "HEAD") if method == "GET" else (method,))) + (
        ", OPTIONS"
    )


def _is_at(path: str, segments: Sequence[str]) -> bool:
    template = path.split("/")
    if template[-1].endswith("...}"):
        if len(segments) < len(template):
            return False
        segments = segments[: len(template)]
    return len(template) == len(segments) and all(
        bool(segment) if part.startswith("{") else part == segment
        for part, segment in zip(template, segments, strict=True)
    )


def build_wadl(root: str, routes: Sequence[Route]) -> bytes:
    """The description of the service at `root`, UTF-8."""
    parameters = "".join(f'<param name="{name}" style="header"/>' for name in _HEADERS)
    resources = "".join(
        f"<resource path={quoteattr(path)}>"
        + "".join(
            f"<method name={quoteattr(route.method)}><request>{parameters}{_representations(route.takes)}</request>"
            f"<response>{_representations(route.answers)}</response></method>"
            for route in routes
            if route.path == path
        )
        + "</resource>"
        for path in dict.fromkeys(route.path for route in routes)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><application xmlns="http://wadl.dev.java.net/2009/02">'
        f"<resources base={quoteattr(root)}>{resources}</resources></application>"
    ).encode()


def _representations(media_types: Sequence[str]) -> str:
    return "".join(f"<representation mediaType={quoteattr(media_type)}/>" for media_type in media_types)


def build_json(root: str, routes: Sequence[Route]) -> dict[str, Any]:
    """The same as JSON: `resources`, each with its methods, what they take and what they answer with."""
    return {
        "base": root,
        "headers": list(_HEADERS),
        "resources": [
            {
                "path": path,
                "methods": [
                    {
                        "name": route.method,
                        "service": route.service,
                        "takes": list(route.takes),
                        "answers": list(route.answers),
                    }
                    for route in routes
                    if route.path == path
                ],
            }
            for path in dict.fromkeys(route.path for route in routes)
        ],
    }
