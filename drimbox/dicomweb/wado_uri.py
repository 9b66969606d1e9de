"""WADO-URI (PS3.18 §9): one object by query parameters, for the programs that know no other way.

A request is turned into the WADO-RS request that means the same. Not supported, and refused: `anonymize`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.accept import parse_accept
from drimbox.dicomweb.answers import Answer
from drimbox.dicomweb.media_types import DICOM
from drimbox.dicomweb.rendered import Rendered
from drimbox.dicomweb.request import Request
from drimbox.dicomweb.wado import Wado, read_frame_list
from drimbox.errors import Malformed
from drimbox.pixels.drawing import MOST_SIDE

_UIDS: Final = ("studyUID", "seriesUID", "objectUID")
_ALSO: Final = {
    "imageQuality": "quality",
    **{name: name for name in ("annotation", "region", "presentationSeriesUID", "presentationUID")},
}


@dataclass(frozen=True)
class WadoUri:
    """The same retrievals as WADO-RS, asked otherwise."""

    wado: Wado
    rendered: Rendered

    async def answer(self, request: Request) -> Answer:
        """Answer `?requestType=WADO&studyUID=…`. Raises Malformed for what is missing or not supported."""
        given = dict(request.parameters)
        study, series, sop = (self._uid(given, name) for name in _UIDS)
        if given.get("anonymize", "no") != "no":
            raise Malformed("anonymize", "is not supported: ask for the object as it is")
        asked = given.get("contentType", "") or request.headers.get("accept", "")
        if any(found.type == DICOM and found.q > 0 for found in parse_accept([asked])):
            syntax = given.get("transferSyntax", "")
            accept = f"{DICOM};transfer-syntax={checked_uid(syntax)}" if syntax else DICOM
            return await self.wado.instances(_as_if(request, accept, ()), study, series, sop)
        frames = read_frame_list(given["frameNumber"]) if "frameNumber" in given else ()
        if len(frames) > 1:
            raise Malformed("frameNumber", "one number is expected (PS3.18 §9.1.2)")
        parameters = _picture(given)
        return await self.rendered.resource(_as_if(request, asked, parameters), study, series, sop, frames)

    def _uid(self, given: Mapping[str, str], name: str) -> str:
        if not given.get(name):
            raise Malformed(name, "is required, once for each of studyUID, seriesUID, objectUID (PS3.18 §9.1.1)")
        return checked_uid(given[name])


def _as_if(request: Request, accept: str, parameters: tuple[tuple[str, str], ...]) -> Request:
    return replace(request, headers={**request.headers, "accept": accept}, parameters=parameters)


def _picture(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The query parameters of a rendered resource that mean the same."""
    parameters = [(also, given[name]) for name, also in _ALSO.items() if name in given]
    if "rows" in given or "columns" in given:  # the picture keeps its shape inside them
        parameters.append(("viewport", f"{given.get('columns', MOST_SIDE)},{given.get('rows', MOST_SIDE)}"))
    if "windowCenter" in given or "windowWidth" in given:
        parameters.append(("window", f"{given.get('windowCenter', '')},{given.get('windowWidth', '')}"))
    return tuple(parameters)
