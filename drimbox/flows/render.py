"""Someone asks for pictures instead of pixels: of a frame, an instance, a series or a study (PS3.18 §8.7.4, §10.4).

It admits as `retrieve` does, and says what each instance can be shown as. An image is drawn by a pixel worker; a
presentation state is shown as the images it is about; a structured report is written out as a page or as text; a
document and a video are given as they are kept. What has no picture has a sign of its kind as a thumbnail.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from drimbox.dicom.content_page import build_page, build_text
from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import Limits
from drimbox.dicom.json_model import read_metadata
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.errors import Corrupt, Malformed, NotAcceptable, NotFound, TooLarge
from drimbox.flows.retrieve import Retrieve
from drimbox.model import Credentials, InstanceRef
from drimbox.pixels.drawing import GIF, JPEG, MOST_CINE_FRAMES, PNG, Drawing, Sign
from drimbox.pixels.header import Item, read_header
from drimbox.pixels.kept_file import KeptImage
from drimbox.pixels.presentation import STATES, read_state, referenced_images
from drimbox.pixels.syntaxes import DECODABLE
from drimbox.storage.index import Held

# Storage SOP classes of encapsulated documents (PS3.3 §A.45, §A.85), and what is in them.
_DOCUMENTS: Final = {
    "1.2.840.10008.5.1.4.1.1.104.1": ("application/pdf",),
    "1.2.840.10008.5.1.4.1.1.104.2": ("text/xml", "application/xml"),
    "1.2.840.10008.5.1.4.1.1.104.3": ("model/stl",),
    "1.2.840.10008.5.1.4.1.1.104.4": ("model/obj",),
    "1.2.840.10008.5.1.4.1.1.104.5": ("model/mtl",),
}
_VIDEOS: Final = {"100": ("video/mpeg",), "101": ("video/mpeg",), "107": ("video/h265",), "108": ("video/h265",)}
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_ENCAPSULATED_DOCUMENT_LENGTH: Final = 0x00420015

HTML: Final = "text/html"
PLAIN_TEXT: Final = "text/plain"
_REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."  # storage SOP classes of structured reports (PS3.4 §B.5)
_WAVEFORMS: Final = "1.2.840.10008.5.1.4.1.1.9."
_SIGNS: Final[dict[str, Sign]] = {"report": "report", "document": "document", "video": "video"}

Reader = Callable[[int, int], AsyncGenerator[bytes | bytearray, None]]
"""Gives so many bytes from a start."""

Kind = Literal["image", "state", "report", "document", "video"]


@dataclass(frozen=True, slots=True)
class Shown:
    """An instance, and the media types it can be shown as, best first; none when it cannot be shown."""

    held: Held
    kind: Kind
    media_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to draw: frames of an image, and how."""

    held: Held
    frame_numbers: tuple[int, ...]
    drawing: Drawing


@dataclass(frozen=True)
class Render:
    """Show what `retrieve` may give."""

    retrieve: Retrieve

    async def shown(self, credentials: Credentials, study: str, series: str = "", sop: str = "") -> list[Shown]:
        """What there is, and as what it can be shown. Raises NotFound."""
        offers = await self.retrieve.instances(credentials, study, series, sop)
        return [_shown(offer.held) for offer in offers]

    async def pictures(
        self, credentials: Credentials, shown: Shown, frame_numbers: Sequence[int], drawing: Drawing
    ) -> list[Picture]:
        """What is to be drawn of an image, or of what a presentation state is about.

        frame_numbers: those that were asked for; none: all in a GIF, else the one in the middle. Raises NotFound.
        """
        if shown.kind == "image":
            return [_picture(shown.held, frame_numbers, drawing)]
        header = await asyncio.to_thread(self._header, shown.held)
        found: list[Picture] = []
        for ref, frames in referenced_images(header):
            for image in await self._images(credentials, ref):
                found.append(_under(header, image, frame_numbers or frames, drawing))
        if not found:
            raise NotFound("image", "none of the images this presentation state is about is held here")
        return found

    async def under_state(
        self, credentials: Credentials, shown: Shown, name: tuple[str, str], frames: Sequence[int], drawing: Drawing
    ) -> Picture:
        """An image as a presentation state of its study wants it. name: its series and itself. Raises NotFound."""
        ref = shown.held.ref
        for offer in await self.retrieve.pointed_at(credentials, ref.study_uid, *name):
            is_state = offer.held.sop_class_uid in STATES
            header = await asyncio.to_thread(self._header, offer.held) if is_state else Item()
            if any(image == ref for image, _ in referenced_images(header)):
                return _under(header, shown, frames, drawing)
        raise NotFound("presentation state", "none of this study is about this image")

    async def _images(self, credentials: Credentials, ref: InstanceRef) -> list[Shown]:
        """The image of a presentation state, in the study whoever asks was admitted to."""
        offers = await self.retrieve.pointed_at(credentials, ref.study_uid, ref.series_uid, ref.sop_uid)
        found = (_shown(offer.held) for offer in offers)
        return [shown for shown in found if shown.kind == "image" and shown.media_types]

    def _header(self, held: Held) -> Item:
        with self.retrieve.archive.open(held) as file:
            return read_header(open_data_set(file, Limits()))

    async def thumbnail(
        self, credentials: Credentials, shown: Sequence[Shown], frame_numbers: Sequence[int], drawing: Drawing
    ) -> Picture:
        """What stands for all these, as one picture: of the middle of the first series of images, else a sign.

        PS3.18 §10.4.3.3.4 leaves to us what it is, so there is one for whatever is held.
        """
        one = representative(shown)
        sign = Picture(one.held, (), replace(drawing, sign=_sign(one)))
        if not one.media_types or one.kind not in ("image", "state"):
            return sign
        try:
            middle = frame_numbers[:1] or ((one.held.number_of_frames + 1) // 2,)
            return (await self.pictures(credentials, one, middle if one.kind == "image" else (), drawing))[0]
        except (NotFound, NotAcceptable):
            return sign

    async def draw_thumbnail(self, picture: Picture) -> bytes:
        """The picture, or a sign where it cannot be drawn. Raises Corrupt, Unavailable."""
        try:
            return await self.draw(picture)
        except (NotAcceptable, NotFound, TooLarge):
            sign = replace(picture.drawing, sign="other", state=None)
            return await self.draw(replace(picture, frame_numbers=(), drawing=sign))

    async def draw(self, picture: Picture) -> bytes:
        """The picture, in the media type of its drawing. Raises NotFound, NotAcceptable, TooLarge, Unavailable."""
        held, numbers = picture.held, picture.frame_numbers
        if not all(1 <= number <= held.number_of_frames for number in numbers):
            raise NotFound("frame", f"this instance has {held.number_of_frames}")
        archive = self.retrieve.archive
        spans = await archive.spans(held, numbers) if numbers else ()
        image = KeptImage(archive.place(held), held.study_uid, held.transfer_syntax, spans, held.digest)
        return await self.retrieve.pixels.picture(image, numbers, picture.drawing)

    async def document(self, credentials: Credentials, shown: Shown) -> tuple[int, Reader]:
        """The length of an encapsulated document, as it was put in, and how to read it (PS3.3 §C.24.2)."""
        ref = shown.held.ref
        value = await self.retrieve.bulkdata(
            credentials, ref.study_uid, ref.series_uid, ref.sop_uid, _ENCAPSULATED_DOCUMENT
        )
        header = await asyncio.to_thread(self._header, shown.held)
        told = header.number(_ENCAPSULATED_DOCUMENT_LENGTH, value.length, "I")
        length = told if value.length - told == told % 2 else value.length  # less the byte that made it even
        return length, partial(self.retrieve.read_bulkdata, value)

    async def report(self, shown: Shown, media_type: str, url: Callable[[InstanceRef], str]) -> bytes:
        """A structured report as a page or as plain text. url: where an instance is retrieved. Raises NotAcceptable."""
        return await asyncio.to_thread(self._report, shown.held, build_page if media_type == HTML else None, url)

    def _report(self, held: Held, page: Callable[..., bytes] | None, url: Callable[[InstanceRef], str]) -> bytes:
        with self.retrieve.archive.open(held) as file:
            try:
                report = read_metadata(file, "", as_written=True)
            except (Malformed, TooLarge) as error:  # it could be read when it was kept
                raise Corrupt("instance", "it cannot be read", detail=f"{held.file}: {error}") from error
        return page(report, url) if page else build_text(report)

    async def video(self, shown: Shown) -> tuple[int, Reader]:
        """The length of a video stream, as it is kept, and how to read it."""
        spans = await self.retrieve.archive.spans(shown.held, [1])
        if not spans:
            raise NotFound("video", "its place in the pixel data is not known")
        places = [(span.offset, span.length) for span in spans]
        return sum(span.length for span in spans), partial(self.retrieve.read_part, shown.held, places)


def representative(shown: Sequence[Shown]) -> Shown:
    """The one that stands for all: the middle one of the images of the first series that has some, else the first."""
    images = [one for one in shown if one.kind == "image" and one.media_types] or shown[:1]
    first_series = [one for one in images if one.held.series_uid == images[0].held.series_uid]
    return first_series[len(first_series) // 2]


def _sign(shown: Shown) -> Sign:
    """What is drawn for an instance that has no picture."""
    if shown.held.sop_class_uid.startswith(_WAVEFORMS):
        return "waveform"
    return _SIGNS.get(shown.kind, "other")


def _picture(held: Held, frame_numbers: Sequence[int], drawing: Drawing) -> Picture:
    count = held.number_of_frames
    whole = range(1, count + 1) if drawing.media_type == GIF and count <= MOST_CINE_FRAMES else [(count + 1) // 2]
    return Picture(held, tuple(frame_numbers or whole), drawing)


def _under(header: Item, image: Shown, frame_numbers: Sequence[int], drawing: Drawing) -> Picture:
    """An image under the presentation state of this header; of several frames, the state of the first."""
    all_fit = drawing.media_type == GIF or len(frame_numbers) < 2
    drawn = frame_numbers if all_fit else [frame_numbers[len(frame_numbers) // 2]]
    picture = _picture(image.held, drawn, drawing)
    state = read_state(header, image.held.sop_uid, picture.frame_numbers[0])
    return replace(picture, drawing=replace(drawing, state=state))


def _shown(held: Held) -> Shown:
    syntax = TRANSFER_SYNTAXES.get(held.transfer_syntax)
    if held.sop_class_uid in STATES:
        return Shown(held, "state", (JPEG, PNG, GIF))
    if held.sop_class_uid.startswith(_REPORTS):
        return Shown(held, "report", (HTML, PLAIN_TEXT))
    if held.sop_class_uid in _DOCUMENTS:
        return Shown(held, "document", _DOCUMENTS[held.sop_class_uid])
    if syntax is not None and syntax.is_video:
        process = held.transfer_syntax.removeprefix("1.2.840.10008.1.2.4.").partition(".")[0]
        return Shown(held, "video", _VIDEOS.get(process, ("video/mp4",)))
    if held.number_of_frames < 1 or held.transfer_syntax not in DECODABLE:
        return Shown(held, "image", ())
    if 1 < held.number_of_frames <= MOST_CINE_FRAMES:
        return Shown(held, "image", (GIF, JPEG, PNG))
    return Shown(held, "image", (JPEG, PNG, GIF))


def check_frames(shown: Shown, frame_numbers: Sequence[int]) -> None:
    """Raise NotFound when frames are asked of what has none."""
    if frame_numbers and shown.kind not in ("image", "state"):
        raise NotFound("frame", "this instance is no image")


def check_shown(shown: Shown) -> Shown:
    """Return `shown` if anything can be made of it. Raises NotAcceptable."""
    if not shown.media_types:
        raise NotAcceptable("instance", "it cannot be shown as a picture: retrieve it as it is kept")
    return shown
