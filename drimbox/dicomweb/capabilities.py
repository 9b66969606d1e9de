"""What this door can do, as WADL (PS3.18 §8.9.1), for the peers that ask with OPTIONS. Pure."""

from typing import Final
from xml.sax.saxutils import quoteattr

from drimbox.pixels.drawing import PICTURES

WADL: Final = "application/vnd.sun.wadl+xml"

_SEARCHES = ("studies", "series", "instances", "studies/{study}/series", "studies/{study}/instances")
_INSTANCES = (
    "studies/{study}",
    "studies/{study}/series/{series}",
    "studies/{study}/series/{series}/instances/{instance}",
)
_RESOURCES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_SEARCHES, "studies/{study}/series/{series}/instances"), ("application/dicom+json",)),
    **dict.fromkeys(_INSTANCES, ('multipart/related; type="application/dicom"',)),
    **{f"{path}/metadata": ("application/dicom+json",) for path in _INSTANCES},
    f"{_INSTANCES[2]}/frames/{{frames}}": ('multipart/related; type="application/octet-stream"',),
    f"{_INSTANCES[2]}/bulkdata/{{path}}": ("application/octet-stream",),
    **{
        f"{path}/{form}": PICTURES
        for path in (*_INSTANCES, f"{_INSTANCES[2]}/frames/{{frames}}")
        for form in ("rendered", "thumbnail")
    },
}
_HEADERS = ("Accept", "Authorization", "KOS-SOPInstanceUID", "Situation")


def build_wadl(root: str) -> bytes:
    """The description of the service at `root`, UTF-8."""
    parameters = "".join(f'<param name="{name}" style="header"/>' for name in _HEADERS)
    resources = "".join(
        f"<resource path={quoteattr(path)}><method name='GET'><request>{parameters}</request><response status='200'>"
        + "".join(f"<representation mediaType={quoteattr(media_type)}/>" for media_type in media_types)
        + "</response></method></resource>"
        for path, media_types in _RESOURCES.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><application xmlns="http://wadl.dev.java.net/2009/02">'
        f"<resources base={quoteattr(root)}>{resources}</resources></application>"
    ).encode()
