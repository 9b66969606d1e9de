"""Pictures at the door: each parameter, each kind of object, and what cannot be shown."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_stage import STUDY, Box, Reply, as_test_instance, path_of, renamed
from PIL import Image, ImageCms
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

CINE, STATE, PDF, CDA, VIDEO, SLOPE = (
    f"/studies/{STUDY}/series/{STUDY}.{n}/instances/{STUDY}.{n}.1" for n in (40, 41, 42, 43, 44, 45)
)
GRADIENT = np.tile(np.arange(256, dtype="<u2") * 16, (64, 1))


def gradient() -> pydicom.FileDataset:
    """0 to 4080 from left to right, which are -1024 to 3056 HU."""
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    made.Rows, made.Columns = GRADIENT.shape
    made.BitsStored, made.HighBit, made.PixelRepresentation = 12, 11, 0
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in made:
            delattr(made, keyword)
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.WindowCenter, made.WindowWidth = 1016, 4080
    made.PixelData = GRADIENT.tobytes()
    return made


def cine() -> bytes:
    made = gradient()
    made.NumberOfFrames = 5
    made.FrameTime = "40"
    made.PixelData = b"".join(np.roll(GRADIENT, 40 * number, 1).tobytes() for number in range(5))
    return renamed(made, 40, 1)


def state() -> bytes:
    """A presentation state about the gradient: a window, its inverse, a quarter turn, half of the image, a line."""
    made = gradient()
    for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[tag]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    made.Modality = "PR"
    image, series, voi, area, layer, graphic = (Dataset() for _ in range(6))
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{STUDY}.45.1"
    series.SeriesInstanceUID, series.ReferencedImageSequence = f"{STUDY}.45", Sequence([image])
    made.ReferencedSeriesSequence = Sequence([series])
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 1, -1024, "HU"
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = 1016, 4080, "LINEAR_EXACT"
    made.SoftcopyVOILUTSequence = Sequence([voi])
    made.PresentationLUTShape = "INVERSE"
    made.ImageRotation, made.ImageHorizontalFlip = 90, "N"
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [128, 64]
    area.PresentationSizeMode = "SCALE TO FIT"
    made.DisplayedAreaSelectionSequence = Sequence([area])
    graphic.GraphicAnnotationUnits, graphic.GraphicDimensions, graphic.NumberOfGraphicPoints = "PIXEL", 2, 2
    graphic.GraphicData, graphic.GraphicType = [9.5, 0, 9.5, 64], "POLYLINE"
    layer.GraphicLayer, layer.GraphicObjectSequence = "A", Sequence([graphic])
    made.GraphicAnnotationSequence = Sequence([layer])
    return renamed(made, 41, 1)


def document(series: int, sop_class: str, content: bytes, media_type: str) -> bytes:
    made = gradient()
    for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[tag]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    made.Modality, made.MIMETypeOfEncapsulatedDocument = "DOC", media_type
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made.EncapsulatedDocumentLength = len(content)
    return renamed(made, series, 1)


def video() -> bytes:
    made = gradient()
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    made.NumberOfFrames = 50
    made.PixelData = encapsulate([b"\0\0\0\x18ftypmp42 not a film"])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return renamed(made, 44, 1)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(Path(tmp_path_factory.mktemp("rendered")))
    for name in ("ct", "baseline", "report", "dose", "rle"):
        box.keep(as_test_instance(name))
    for content in (cine(), state(), video(), renamed(gradient(), 45, 1)):
        box.keep(content)
    box.keep(document(42, "1.2.840.10008.5.1.4.1.1.104.1", b"%PDF-1.4 odd", "application/pdf"))
    box.keep(document(43, "1.2.840.10008.5.1.4.1.1.104.2", b"<ClinicalDocument/>", "text/xml"))
    yield box
    box.close()


def picture(reply: Reply) -> Image.Image:
    assert reply.status == 200, reply.body
    opened = Image.open(BytesIO(reply.body))
    assert reply.headers["content-type"] == f"image/{(opened.format or '').lower()}"
    return opened


def row(reply: Reply) -> np.ndarray:
    shown = np.asarray(picture(reply))
    assert (shown == shown[0]).all()
    return shown[0].astype(int)


# HU of the gradient, and what the standard's formulas make of it (PS3.3 §C.11.2.1.2 and .3).
HU = GRADIENT[0].astype(float) - 1024


def shades(values: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(int)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", shades((HU - 1015.5) / 4079 + 0.5)),
        ("?window=40,400,linear", shades((HU - 39.5) / 399 + 0.5)),
        ("?window=40,400", shades((HU - 39.5) / 399 + 0.5)),
        ("?window=40,400,linear-exact", shades((HU - 40) / 400 + 0.5)),
        ("?window=40,400,LINEAR_EXACT", shades((HU - 40) / 400 + 0.5)),
        ("?window=40,400,sigmoid", shades(1 / (1 + np.exp(np.clip(-4 * (HU - 40) / 400, -700, 700))))),
        ("?window=-600,1500,LINEAR", shades((HU + 600.5) / 1499 + 0.5)),
    ],
)
def test_a_window_is_the_formula_of_the_standard(box: Box, query: str, expected: np.ndarray) -> None:
    assert (row(box.get(f"{SLOPE}/rendered{query}", "image/png")) == expected).all()


@pytest.mark.parametrize(("accept", "kind"), [("*/*", "JPEG"), ("image/*", "JPEG"), ("image/png", "PNG"), ("", "JPEG")])
def test_a_picture_in_the_type_that_is_accepted(box: Box, accept: str, kind: str) -> None:
    shown = picture(box.get(f"{path_of('ct')}/rendered", accept))
    assert (shown.format, shown.size, shown.mode) == (kind, (128, 128), "L")


def test_quality_is_obeyed(box: Box) -> None:
    sizes = [len(box.get(f"{path_of('ct')}/rendered?quality={q}", "image/jpeg").body) for q in (10, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] * 3 < sizes[2]


@pytest.mark.parametrize(
    ("viewport", "size"), [("64,64", (64, 16)), ("512,1000", (512, 128)), ("100,100,0,0,64,64", (100, 100))]
)
def test_a_viewport_holds_the_picture_in_its_own_shape(box: Box, viewport: str, size: tuple[int, int]) -> None:
    assert picture(box.get(f"{SLOPE}/rendered?viewport={viewport}", "image/png")).size == size


def test_a_part_of_the_image_and_its_mirror(box: Box) -> None:
    right_half = row(box.get(f"{SLOPE}/rendered?viewport=128,64,128,0,128,64", "image/png"))
    assert (right_half == row(box.get(f"{SLOPE}/rendered", "image/png"))[128:]).all()
    mirrored = row(box.get(f"{SLOPE}/rendered?viewport=128,64,128,,-128,", "image/png"))
    assert (mirrored == right_half[::-1]).all()


@pytest.mark.parametrize(
    "query",
    [
        "window=40", "window=40,0,linear", "window=a,b,linear", "window=40,400,cubic", "window=nan,400",
        "viewport=0,10", "viewport=10", "viewport=10,10,1,1", "viewport=99999,10", "viewport=10,10,0,0,0,5",
        "quality=0", "quality=101", "quality=high", "iccprofile=mine", "window=1,2,linear,4",
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_read_is_a_400(box: Box, query: str) -> None:
    assert box.get(f"{SLOPE}/rendered?{query}", "image/png").status == 400


def test_a_colour_image(box: Box) -> None:
    shown = picture(box.get(f"{path_of('baseline')}/frames/1/rendered", "image/png"))
    assert shown.mode == "RGB"
    assert np.asarray(shown).std(axis=2).max() > 20


def test_a_multi_frame_moves(box: Box) -> None:
    shown = picture(box.get(f"{CINE}/rendered", "*/*"))
    assert (shown.format, shown.n_frames, shown.info["duration"]) == ("GIF", 5, 40)
    for number in range(5):
        shown.seek(number)
        first = np.asarray(shown.convert("L"))[0].astype(int)
        assert abs(first[(40 * number) % 256] - 0) <= 1


def test_a_multi_frame_as_a_still_is_its_middle(box: Box) -> None:
    middle = row(box.get(f"{CINE}/rendered", "image/png"))
    assert (middle == row(box.get(f"{CINE}/frames/3/rendered", "image/png"))).all()
    assert picture(box.get(f"{CINE}/thumbnail", "*/*")).size == (256, 64)


def test_frames_are_parts(box: Box) -> None:
    reply = box.get(f"{CINE}/frames/2,4/rendered", 'multipart/related; type="image/png"')
    assert [headers["Content-Type"] for headers, _ in reply.parts] == ["image/png"] * 2
    assert [headers["Content-Location"].rpartition("instances/")[2] for headers, _ in reply.parts] == [
        f"{STUDY}.40.1/frames/{number}/rendered" for number in (2, 4)
    ]
    alone = [box.get(f"{CINE}/frames/{number}/rendered", "image/png").body for number in (2, 4)]
    assert [content for _, content in reply.parts] == alone
    assert picture(box.get(f"{CINE}/frames/2,4/rendered", "image/gif")).n_frames == 2


def test_a_frame_that_is_not_there(box: Box) -> None:
    assert box.get(f"{CINE}/frames/6/rendered", "image/png").status == 404
    assert box.get(f"{CINE}/frames/0/rendered", "image/png").status == 404
    assert box.get(f"{path_of('ct')}.9/rendered", "image/png").status == 404
    for path in (path_of("report"), PDF, VIDEO):
        for form in ("rendered", "thumbnail"):
            assert box.get(f"{path}/frames/1/{form}", "*/*").status == 404


def test_a_presentation_state_is_its_image_as_it_says(box: Box) -> None:
    shown = np.asarray(picture(box.get(f"{STATE}/rendered", "image/png"))).astype(int)
    half = 255 - shades((HU[:128] - 1016) / 4080 + 0.5)
    half[9] = 255  # the line through the middle of column 10
    assert shown.shape == (128, 64)  # the left half, turned clockwise: its left column is the top row
    assert (shown == np.tile(half[:, None], (1, 64))).all()


def test_a_study_is_one_part_an_instance(box: Box) -> None:
    reply = box.get(f"/studies/{STUDY}/rendered", "*/*")
    kinds = [headers["Content-Type"] for headers, _ in reply.parts]
    assert kinds.count("application/pdf") == 1
    assert kinds.count("text/html;charset=utf-8") == 1
    assert kinds.count("text/xml") == 1
    assert kinds.count("video/mp4") == 1
    assert kinds.count("image/gif") == 3  # the cine, the colour ultrasound, the dose
    assert kinds.count("image/jpeg") == 4  # ct, rle, the gradient and its state
    pngs = box.get(f"/studies/{STUDY}/series/{STUDY}.1/rendered", 'multipart/related; type="image/png"')
    assert [headers["Content-Type"] for headers, _ in pngs.parts] == ["image/png"]


@pytest.mark.parametrize(
    ("path", "media_type", "content"),
    [
        (PDF, "application/pdf", b"%PDF-1.4 odd"),
        (CDA, "text/xml", b"<ClinicalDocument/>"),
        (VIDEO, "video/mp4", b"\0\0\0\x18ftypmp42 not a film"),
    ],
)
def test_documents_and_videos_are_given_as_they_are_kept(box: Box, path: str, media_type: str, content: bytes) -> None:
    for accept in ("*/*", media_type):
        reply = box.get(f"{path}/rendered", accept)
        assert (reply.status, reply.headers["content-type"]) == (200, media_type)
        assert reply.body.rstrip(b"\0") == content
        assert int(reply.headers["content-length"]) == len(reply.body)
    assert box.get(f"{path}/rendered", "image/png").status == 406


def test_what_cannot_be_shown_is_a_406(box: Box) -> None:
    assert box.get(f"{path_of('report')}/rendered", "image/png").status == 406
    assert b"text/html" in box.get(f"{path_of('report')}/rendered", "image/png").body
    assert box.get(f"{path_of('ct')}/rendered", "application/pdf").status == 406
    assert b"image/png" in box.get(f"{path_of('ct')}/rendered", "application/pdf").body


def test_thumbnails_are_small_and_of_an_image(box: Box) -> None:
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/{STUDY}.45", SLOPE, f"{SLOPE}/frames/1"):
        shown = picture(box.get(f"{path}/thumbnail", "*/*"))
        assert shown.format == "JPEG"
        assert max(shown.size) == 256
    assert picture(box.get(f"{SLOPE}/thumbnail?viewport=32,32", "image/png")).size == (32, 8)


@pytest.mark.parametrize("path", [path_of("report"), PDF, CDA, VIDEO, f"/studies/{STUDY}/series/{STUDY}.42"])
def test_what_has_no_picture_has_a_sign_of_its_kind(box: Box, path: str) -> None:
    for accept in ("*/*", "image/png", "image/gif"):
        shown = picture(box.get(f"{path}/thumbnail?viewport=64,64", accept))
        assert shown.size == (64, 64)
        assert np.asarray(shown.convert("L")).std() > 20
    assert box.get(f"{path}/thumbnail", "application/pdf").status == 406


def test_an_image_that_cannot_be_drawn_has_a_sign_too(box: Box) -> None:
    cut = gradient()
    cut.PixelData = GRADIENT.tobytes()[:1000]
    box.keep(renamed(cut, 47, 1))
    path = f"/studies/{STUDY}/series/{STUDY}.47/instances/{STUDY}.47.1"
    assert box.get(f"{path}/rendered", "image/png").status == 406
    assert picture(box.get(f"{path}/thumbnail", "image/png")).size == (256, 256)


def test_the_thumbnail_of_a_presentation_state_is_its_image(box: Box) -> None:
    shown = np.asarray(picture(box.get(f"{STATE}/thumbnail?viewport=128,128", "image/png"))).astype(int)
    assert shown.shape == (128, 64)
    assert abs(shown[0, 0] - shown[-1, 0]) > 60


def test_a_report_is_a_page_or_a_text(box: Box) -> None:
    page = box.get(f"{path_of('report')}/rendered", "text/html,application/xhtml+xml,image/png,*/*;q=0.8")
    assert (page.status, page.headers["content-type"]) == (200, "text/html;charset=utf-8")
    assert int(page.headers["content-length"]) == len(page.body)
    assert "ZOÉ ESSAI".encode() in page.body
    assert b"<h2" in page.body
    assert b"Section Heading" in page.body
    text = box.get(f"{path_of('report')}/rendered?accept=text/plain")
    assert text.headers["content-type"] == "text/plain;charset=utf-8"
    assert b"Report Text : Enter text" in text.body
    part = box.get(f"{path_of('report')}/rendered", 'multipart/related; type="text/html"').parts[0]
    assert part == ({**part[0], "Content-Type": "text/html;charset=utf-8"}, page.body)


def test_pages_of_others_are_inert_in_a_browser(box: Box) -> None:
    for path in (path_of("report"), CDA):
        policy = box.get(f"{path}/rendered", "*/*").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy


def test_the_profile_of_the_image_is_kept(box: Box) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = pydicom.dcmread(get_testdata_file("examples_ybr_color.dcm", download=False))
    made.ICCProfile = profile + b"\0" * (len(profile) % 2)
    box.keep(renamed(made, 46, 1))
    path = f"/studies/{STUDY}/series/{STUDY}.46/instances/{STUDY}.46.1/frames/1/rendered"
    for accept in ("image/jpeg", "image/png"):
        assert picture(box.get(path, accept)).info["icc_profile"].rstrip(b"\0") == profile.rstrip(b"\0")
        assert "icc_profile" not in picture(box.get(f"{path}?iccprofile=no", accept)).info
        made_srgb = picture(box.get(f"{path}?iccprofile=srgb", accept)).info["icc_profile"]
        assert "sRGB" in ImageCms.getProfileName(ImageCms.ImageCmsProfile(BytesIO(made_srgb)))


def test_a_picture_that_the_caller_holds_is_not_sent_again(box: Box) -> None:
    first = box.get(f"{SLOPE}/rendered", "image/png")
    assert box.get(f"{SLOPE}/rendered", "image/png", If_None_Match=first.headers["etag"]).status == 304
    assert box.get(f"{SLOPE}/rendered?window=1,2", "image/png", If_None_Match=first.headers["etag"]).status == 200


def test_showing_is_traced(box: Box) -> None:
    before = len(box.traces())
    box.get(f"{SLOPE}/rendered", "image/png")
    assert len(box.traces()) > before or box.traces()[-1]["action"] == "retrieve"


def test_a_compressed_image_is_shown_like_another(box: Box) -> None:
    assert picture(box.get(f"{path_of('rle')}/rendered", "image/png")).size == (64, 64)
