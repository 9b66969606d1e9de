"""Rendered resources and thumbnails (PS3.18 §8.7.4, §10.4.1.1.3 and .4): parameters, choice of a form, parts."""

import hashlib
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from drimbox import __version__
from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.accept import Choice, choose_rendered
from drimbox.dicomweb.answers import Answer, Stream, is_unchanged, validators
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.ranges import in_part
from drimbox.dicomweb.request import Request
from drimbox.dicomweb.wado import read_frame_list
from drimbox.errors import Malformed, NotAcceptable, NotFound, TooLarge
from drimbox.flows.ahead import in_order
from drimbox.flows.render import HTML, PLAIN_TEXT, Picture, Reader, Render, Shown, check_frames, check_shown
from drimbox.model import InstanceRef
from drimbox.pixels.drawing import GIF, MOST_SIDE, PICTURES, QUALITY, Drawing, Profile, Region
from drimbox.pixels.grayscale import Window, as_function
from drimbox.problems import Headers

THUMBNAIL_SIDE: Final = 256
_PROFILES: Final[dict[str, Profile]] = {"no": "no", "yes": "yes", "srgb": "srgb"}
_INERT: Final = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox")
"""A page or an XML of others, opened in a browser under our name, runs no script and reaches nothing."""

_FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}


@dataclass(frozen=True)
class Rendered:
    """The rendered side of a `Wado`. url: where an instance is retrieved."""

    render: Render
    url: Callable[[InstanceRef], str]

    async def answer(self, request: Request, path: Sequence[str]) -> Answer:
        """Answer for a path that ends in `rendered` or `thumbnail`. Raises NotFound when there is no such resource."""
        frames: Sequence[int] = ()
        *names, form = path
        if len(names) == 8 and names[6] == "frames":
            frames = read_frame_list(names.pop())
            names.pop()
        if names[::2] != ["studies", "series", "instances"][: len(names) // 2] or len(names) not in (2, 4, 6):
            raise NotFound("resource", "no such path in this service")
        study, series, sop = (*map(checked_uid, names[1::2]), "", "")[:3]
        return await (self.resource if form == "rendered" else self.thumbnail)(request, study, series, sop, frames)

    async def resource(
        self, request: Request, study: str, series: str = "", sop: str = "", frames: Sequence[int] = ()
    ) -> Answer:
        """Pictures of all there is below a study, a series or an instance, or of frames of an instance.

        One answers alone, unless parts are asked for; several are parts. A multi-frame image is a GIF that moves, or,
        in another type, its frame in the middle. An image is shown under a presentation state where one is named.
        """
        drawing, state = read_drawing(request.parameters), read_state_name(request.parameters)
        shown = await self.render.shown(request.credentials, study, series, sop)
        if sop:
            check_frames(shown[0], frames)
            check_shown(shown[0])
        shown = [one for one in shown if one.media_types]
        one = bool(sop) and len(frames) <= 1
        choices = [(each, choice) for each in shown if (choice := _chosen(request, each, one=one, frames=frames))]
        if not choices:
            raise NotAcceptable("Accept", "possible here: " + ", ".join(dict.fromkeys(_possible(shown, frames))))
        as_kept = bool(sop) and shown[0].kind in ("document", "video") and not choices[0][1].multipart
        headers, unchanged = _validated(request, shown, frames, strong=as_kept)
        if unchanged:
            return Answer(304, headers)
        parts: list[_Part] = []
        for each, choice in choices:
            how = replace(drawing, media_type=choice.media_type)
            try:
                parts += await self._parts(request, each, choice, frames, how, state)
            except (NotFound, NotAcceptable):
                if sop or (each is choices[-1][0] and not parts):
                    raise
        if sop and len(parts) == 1 and not choose_rendered(request.accept, [parts[0].media_type], one=True).multipart:
            part = parts[0]
            headers.append((b"content-type", part.content_type.encode()))
            if part.media_type.startswith("text/") or part.media_type.endswith("/xml"):
                headers.append(_INERT)
            if part.length is None:
                return Answer(200, headers, b"".join([chunk async for chunk in part.make()]))
            whole = Answer(200, headers, part.make(), part.length)
            return in_part(request, whole, part.length, part.read) if part.read else whole
        multipart = Multipart(secrets.token_hex(16), parts[0].media_type)
        headers.append((b"content-type", multipart.content_type.encode()))
        return Answer(200, headers, self._together(multipart, parts, strict=bool(sop)))

    async def thumbnail(
        self, request: Request, study: str, series: str = "", sop: str = "", frames: Sequence[int] = ()
    ) -> Answer:
        """One small picture that stands for all there is below; always alone (PS3.18 §10.4.1.1.4)."""
        drawing = read_drawing(request.parameters)
        size = drawing.size or (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        shown = await self.render.shown(request.credentials, study, series, sop)
        check_frames(shown[0], frames)
        choice = choose_rendered(request.accept, PICTURES, one=True)
        headers, unchanged = _validated(request, shown, [0, *frames])
        if unchanged:
            return Answer(304, headers)
        small = replace(drawing, size=size, media_type=choice.media_type, overlays=False)
        picture = await self.render.thumbnail(request.credentials, shown, frames, small)
        headers.append((b"content-type", choice.media_type.encode()))
        return Answer(200, headers, await self.render.draw_thumbnail(picture))

    async def _parts(
        self,
        request: Request,
        shown: Shown,
        choice: Choice,
        frames: Sequence[int],
        drawing: Drawing,
        state: tuple[str, str] | None,
    ) -> list["_Part"]:
        location = self.url(shown.held.ref)
        if shown.kind == "report":
            page = await self.render.report(shown, choice.media_type, self.url)
            return [_Part(choice.media_type, f"{location}/rendered", partial(_whole, page), len(page))]
        if shown.kind in ("document", "video"):
            if shown.kind == "document":
                length, read = await self.render.document(request.credentials, shown)
            else:
                length, read = await self.render.video(shown)
            return [_Part(choice.media_type, f"{location}/rendered", partial(read, 0, length), length, read)]
        if state and shown.kind == "image":
            picture = await self.render.under_state(request.credentials, shown, state, frames, drawing)
            return [_Part(choice.media_type, _location(location, frames), partial(self._draw, picture), None)]
        # Frames that were asked for are pictures of their own, unless they are to move.
        wanted = [(number,) for number in frames] if frames and drawing.media_type != GIF else [tuple(frames)]
        return [
            _Part(choice.media_type, _location(location, numbers), partial(self._draw, picture), None)
            for numbers in wanted
            for picture in await self.render.pictures(request.credentials, shown, numbers, drawing)
        ]

    async def _draw(self, picture: Picture) -> AsyncGenerator[bytes | bytearray, None]:
        yield await self.render.draw(picture)

    async def _together(self, multipart: Multipart, parts: Sequence["_Part"], *, strict: bool) -> Stream:
        """strict: every part must be there; else those that cannot be made are left out, unless none can."""
        first = True
        async with aclosing(in_order([part.make for part in parts], self.render.retrieve.ahead)) as contents:
            for part in parts:
                own = replace(multipart, media_type=part.content_type)
                opening = own.opening("", part.location, part.length, first=first)
                try:
                    async with aclosing(await anext(contents)) as chunks:
                        async for chunk in chunks:
                            yield opening + chunk
                            opening, first = b"", False
                except (NotAcceptable, TooLarge):
                    if strict or not opening or (first and part is parts[-1]):
                        raise
        yield multipart.closing()


@dataclass(frozen=True, slots=True)
class _Part:
    """length: None until it is drawn. read: some of it, where it is kept as it is."""

    media_type: str
    location: str
    make: Callable[[], AsyncGenerator[bytes | bytearray, None]]
    length: int | None
    read: Reader | None = None

    @property
    def content_type(self) -> str:
        """With the character set of what we write; a document of others tells its own."""
        return f"{self.media_type};charset=utf-8" if self.media_type in (HTML, PLAIN_TEXT) else self.media_type


async def _whole(content: bytes) -> AsyncGenerator[bytes | bytearray, None]:
    yield content


def read_drawing(parameters: Sequence[tuple[str, str]]) -> Drawing:
    """The query parameters of rendered resources (PS3.18 §8.3.5). Raises Malformed.

    annotation: `no`, or empty, leaves out overlays and the lines and words of a presentation state. Its other values
    have no effect: nothing that tells who the patient is, or how an image was made, is ever burnt in.
    """
    given = dict(parameters)
    quality = QUALITY
    if (text := given.get("quality")) is not None:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
            raise Malformed("quality", "a whole number from 1 to 100 is expected (PS3.18 §8.3.5.1.2)")
        quality = int(text)
    profile: Profile = "yes"
    if (text := given.get("iccprofile")) is not None:
        if text not in _PROFILES:
            raise Malformed("iccprofile", "no, yes or srgb is expected")
        profile = _PROFILES[text]
    size, region = _read_viewport(given["viewport"]) if "viewport" in given else (None, None)
    if "region" in given:
        region = _read_region(given["region"])
    window = _read_window(given["window"]) if "window" in given else None
    overlays = given.get("annotation", "yes").lower() not in ("", "no", "none")
    return Drawing(window=window, size=size, region=region, quality=quality, profile=profile, overlays=overlays)


def read_state_name(parameters: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Series and instance of the presentation state an image is shown under (PS3.18 §9.1.2). Raises Malformed."""
    given = dict(parameters)
    names = [given.get(name, "") for name in ("presentationSeriesUID", "presentationUID")]
    if not any(names):
        return None
    if not all(names) or "window" in given:
        raise Malformed("presentationUID", "goes with presentationSeriesUID, and without a window (PS3.18 §9.1.2)")
    return checked_uid(names[0]), checked_uid(names[1])


def _read_window(text: str) -> Window:
    """center,width,function; function may be left out (PS3.18 §8.3.5.1.4)."""
    center, width, function = (*text.split(","), "", "")[:3]
    name = _FUNCTIONS.get((function.strip() or "linear").lower().replace("_", "-"))
    numbers = (_number(center), _number(width))
    if text.count(",") > 2 or name is None or None in numbers or (numbers[1] or 0) <= 0:
        raise Malformed("window", "center,width,function is expected: two numbers, linear, linear-exact or sigmoid")
    return Window(numbers[0] or 0.0, numbers[1] or 1.0, as_function(name))


def _read_viewport(text: str) -> tuple[tuple[int, int], Region | None]:
    """vw,vh and, for a part of the image, sx,sy,sw,sh, each of which may be empty; negative sw or sh mirror it."""
    fields = text.split(",")
    size = [_number(field) for field in fields[:2]]
    if len(fields) not in (2, 6) or not all(side and 1 <= side <= MOST_SIDE for side in size):
        raise Malformed("viewport", f"vw,vh or vw,vh,sx,sy,sw,sh is expected, vw and vh at most {MOST_SIDE}")
    whole = (int(size[0] or 1), int(size[1] or 1))
    if len(fields) == 2:
        return whole, None
    left, top, width, height = (_number(field) if field.strip() else None for field in fields[2:])
    if any(field.strip() and _number(field) is None for field in fields[2:]) or width == 0 or height == 0:
        raise Malformed("viewport", "sx,sy,sw,sh are numbers or empty, sw and sh not 0 (PS3.18 §8.3.5.1.3)")
    region = Region(
        left or 0.0,
        top or 0.0,
        abs(width) if width else None,
        abs(height) if height else None,
        flip_x=bool(width and width < 0),
        flip_y=bool(height and height < 0),
    )
    return whole, region


def _read_region(text: str) -> Region:
    """Left, top, right and bottom of a part, in fractions of the image (PS3.18 §9.1.2, of WADO-URI)."""
    sides = [_number(field) for field in text.split(",")]
    left, top, right, bottom = (side or 0.0 for side in sides) if len(sides) == 4 else (0.0,) * 4
    if None in sides or not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise Malformed("region", "left,top,right,bottom are expected, from 0 to 1 (PS3.18 §9.1.2)")
    return Region(left, top, right - left, bottom - top, in_fractions=True)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e9 else None


def _chosen(request: Request, shown: Shown, *, one: bool, frames: Sequence[int]) -> Choice | None:
    """How this instance is shown; None when it is one of several, and not as anything the caller accepts."""
    try:
        return choose_rendered(request.accept, _media_types(shown, frames), one=one)
    except NotAcceptable:
        return None


def _media_types(shown: Shown, frames: Sequence[int]) -> tuple[str, ...]:
    """One frame stands still: a GIF is then no better than a JPEG."""
    return PICTURES if frames and shown.kind == "image" else shown.media_types


def _possible(shown: Sequence[Shown], frames: Sequence[int]) -> list[str]:
    return [media_type for each in shown for media_type in _media_types(each, frames)]


def _location(instance: str, numbers: Sequence[int]) -> str:
    frames = f"/frames/{','.join(map(str, numbers))}" if numbers else ""
    return f"{instance}{frames}/rendered"


def _validated(
    request: Request, shown: Sequence[Shown], frames: Sequence[int], *, strong: bool = False
) -> tuple[Headers, bool]:
    """ETag and Last-Modified of these pictures so asked, and whether the caller holds them already."""
    known = hashlib.sha256(repr((__version__, request.accept, request.parameters, list(frames))).encode())
    for one in shown:
        known.update(one.held.digest)
    etag = f'{"" if strong else "W/"}"{known.hexdigest()[:32]}"'
    headers = validators(etag, max(one.held.kept_at for one in shown))
    return headers, is_unchanged(etag, request.headers.get("if-none-match", ""))
