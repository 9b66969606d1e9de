"""Presentation states at the door: what each of their parts does to a picture, and pictures under a named one."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicomweb_stage import STUDY, Box, Reply, renamed
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

ROWS, COLUMNS, LEVEL = 40, 80, 100
IMAGE, CINE, SHUT = 60, 61, 62
# CIELab of sRGB 255,0,0 and 0,255,0 under D50: 54.29, 80.81, 69.89 and 87.82, -79.27, 80.99.
RED, GREEN = (35579, 53665, 50858), (57553, 12524, 53710)
Edit = Callable[[pydicom.FileDataset], None]


def image(series: int, frames: int = 1, edit: Edit = lambda _: None) -> bytes:
    """80 x 40 pixels of 8 bits, all 100, or 100 plus ten times the number of the frame."""
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[tag]
    del made["DataSetTrailingPadding"]
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    levels = [LEVEL] if frames == 1 else [LEVEL + 10 * number for number in range(1, frames + 1)]
    if frames > 1:
        made.NumberOfFrames = frames
    made.PixelData = b"".join(bytes([level]) * (ROWS * COLUMNS) for level in levels)
    made["PixelData"].VR = "OB"
    edit(made)
    return renamed(made, series, 1)


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def about(series: int, *frames: int) -> Dataset:
    made = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=f"{STUDY}.{series}.1")
    if frames:
        made.ReferencedFrameNumber = list(frames)
    return made


def area(**attributes: Any) -> Dataset:
    corners = {"DisplayedAreaTopLeftHandCorner": [1, 1], "DisplayedAreaBottomRightHandCorner": [COLUMNS, ROWS]}
    return item(
        **{"PresentationSizeMode": "SCALE TO FIT", "PresentationPixelAspectRatio": [1, 1]} | corners | attributes
    )


def layer(name: str, order: int, **attributes: Any) -> Dataset:
    return item(GraphicLayer=name, GraphicLayerOrder=order, **attributes)


def line(points: list[float], kind: str = "POLYLINE", units: str = "PIXEL", filled: str = "N", **more: Any) -> Dataset:
    return item(
        GraphicAnnotationUnits=units, GraphicDimensions=2, NumberOfGraphicPoints=len(points) // 2,
        GraphicData=points, GraphicType=kind, GraphicFilled=filled, **more,
    )  # fmt: skip


def on(name: str, *graphics: Dataset, texts: list[Dataset] | None = None) -> Dataset:
    made = item(GraphicLayer=name)
    if graphics:
        made.GraphicObjectSequence = Sequence(graphics)
    if texts:
        made.TextObjectSequence = Sequence(texts)
    return made


def text(words: str, box: list[float], units: str = "PIXEL", **more: Any) -> Dataset:
    return item(
        BoundingBoxAnnotationUnits=units, UnformattedTextValue=words, BoundingBoxTopLeftHandCorner=box[:2],
        BoundingBoxBottomRightHandCorner=box[2:], **{"BoundingBoxTextHorizontalJustification": "LEFT"} | more,
    )  # fmt: skip


class Stage:
    """A box with the images, into which a state is put for each look at it."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.count = 100

    def keep(self, references: Dataset | None = None, sop_class: str = "11.1", **attributes: Any) -> str:
        """The path of a new state. attributes: by keyword; a list is a sequence."""
        self.count += 1
        made = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
            del made[tag]
        del made["DataSetTrailingPadding"]
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(f"1.2.840.10008.5.1.4.1.1.{sop_class}")
        made.Modality = "PR"
        image = references or about(IMAGE)
        series = item(SeriesInstanceUID=image.ReferencedSOPInstanceUID.rpartition(".")[0])
        series.ReferencedImageSequence = Sequence([image])
        made.ReferencedSeriesSequence = Sequence([series])
        softcopy = item(WindowCenter=128, WindowWidth=256, VOILUTFunction="LINEAR")
        given = {"PresentationLUTShape": "IDENTITY", "SoftcopyVOILUTSequence": [softcopy]} | attributes
        for keyword, value in given.items():
            sequence = isinstance(value, list) and value and isinstance(value[0], Dataset)
            setattr(made, keyword, Sequence(value) if sequence else value)
        self.box.keep(renamed(made, self.count, 1))
        return f"/studies/{STUDY}/series/{STUDY}.{self.count}/instances/{STUDY}.{self.count}.1"

    def look(self, path: str, query: str = "") -> NDArray[Any]:
        return pixels(self.box.get(f"{path}/rendered{query}", "image/png"))

    def shown(self, **attributes: Any) -> NDArray[Any]:
        return self.look(self.keep(**attributes))


def pixels(reply: Reply) -> NDArray[Any]:
    assert reply.status == 200, reply.body
    return np.asarray(Image.open(BytesIO(reply.body))).astype(int)


def overlaid(made: pydicom.FileDataset) -> None:
    """An overlay plane: the first row."""
    made.add_new(0x60000010, "US", ROWS)
    made.add_new(0x60000011, "US", COLUMNS)
    made.add_new(0x60000040, "CS", "G")
    made.add_new(0x60000050, "SS", [1, 1])
    made.add_new(0x60000100, "US", 1)
    made.add_new(0x60000102, "US", 0)
    made.add_new(0x60003000, "OB", b"\xff" * (COLUMNS // 8) + bytes((ROWS - 1) * COLUMNS // 8))


def shuttered(made: pydicom.FileDataset) -> None:
    made.ShutterShape = "CIRCULAR"
    made.CenterOfCircularShutter, made.RadiusOfCircularShutter = [20, 40], 15


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    box = Box(Path(tmp_path_factory.mktemp("states")))
    for content in (image(IMAGE, edit=overlaid), image(CINE, 5), image(SHUT, edit=shuttered)):
        box.keep(content)
    yield Stage(box)
    box.close()


def test_nothing_but_the_window_leaves_the_image(stage: Stage) -> None:
    assert (stage.shown() == LEVEL).all()
    assert (stage.shown(PresentationLUTShape="INVERSE") == 255 - LEVEL).all()


def test_a_presentation_lut(stage: Stage) -> None:
    lut = item(LUTDescriptor=[256, 0, 8], LUTData=np.arange(255, -1, -1, dtype="<u2").tobytes())
    lut["LUTData"].VR = "OW"
    made: dict[str, Any] = {"PresentationLUTShape": None, "PresentationLUTSequence": [lut]}
    assert (stage.shown(**made) == 255 - LEVEL).all()


def test_lines_have_the_colour_and_the_order_of_their_layer(stage: Stage) -> None:
    square: list[float] = [10, 10, 30, 10, 30, 30, 10, 30, 10, 10]
    layers = [
        layer("OVER", 2, GraphicLayerRecommendedDisplayCIELabValue=list(RED)),
        layer("UNDER", 1, GraphicLayerRecommendedDisplayCIELabValue=list(GREEN)),
        layer("GREY", 3, GraphicLayerRecommendedDisplayGrayscaleValue=0x8000),
    ]
    shown = stage.shown(
        GraphicLayerSequence=layers,
        GraphicAnnotationSequence=[
            on("OVER", line(square, filled="Y")),
            on("UNDER", line([point + 10 for point in square], filled="Y")),
            on("GREY", line([0, 35.5, COLUMNS, 35.5])),
        ],
    )
    assert np.abs(shown[25, 25] - (255, 0, 0)).max() <= 4
    assert np.abs(shown[35, 37] - (0, 255, 0)).max() <= 4 or (shown[35, 37] == 128).all()
    assert np.abs(shown[33, 35] - (0, 255, 0)).max() <= 4
    assert (shown[35, 60] == 128).all()
    assert (shown[5, 60] == LEVEL).all()


def test_the_style_of_a_line_is_above_that_of_its_layer(stage: Stage) -> None:
    style = item(PatternOnColorCIELabValue=list(RED), LineThickness=5.0)
    shown = stage.shown(
        GraphicAnnotationSequence=[on("A", line([0, 20.5, COLUMNS, 20.5], LineStyleSequence=Sequence([style])))]
    )
    assert [np.abs(shown[row, 40] - (255, 0, 0)).max() <= 4 for row in (17, 18, 20, 22, 23)] == [0, 1, 1, 1, 0]


def test_an_ellipse_lies_as_its_axes_do(stage: Stage) -> None:
    shown = stage.shown(GraphicAnnotationSequence=[on("A", line([20, 5, 50, 35, 33, 22, 37, 18], "ELLIPSE"))])
    assert (shown[4:8, 19:23] == 255).any()
    assert (shown[32:36, 47:51] == 255).any()
    assert (shown[4:12, 40:51] == LEVEL).all()  # a corner of its box


def test_a_curve_goes_through_its_points(stage: Stage) -> None:
    points = [5.5, 5.5, 30.5, 30.5, 60.5, 10.5]
    shown = stage.shown(GraphicAnnotationSequence=[on("A", line([float(p) for p in points], "INTERPOLATED"))])
    for x, y in zip(points[::2], points[1::2], strict=True):
        assert (shown[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] == 255).any()


def test_words_stand_in_their_box_with_their_accents(stage: Stage) -> None:
    box = [20.0, 10.0, 70.0, 30.0]
    plain = stage.shown(GraphicAnnotationSequence=[on("A", texts=[text("eee", box)])]) != LEVEL
    accents = stage.shown(GraphicAnnotationSequence=[on("A", texts=[text("\u00e9\u00e8\u00ea", box)])]) != LEVEL
    right = {"BoundingBoxTextHorizontalJustification": "RIGHT"}
    aligned = stage.shown(GraphicAnnotationSequence=[on("A", texts=[text("eee", box, **right)])]) != LEVEL
    assert np.argmax(plain.any(0)) in range(19, 24)
    assert COLUMNS - np.argmax(aligned.any(0)[::-1]) in range(66, 72)
    assert accents.sum() > plain.sum()
    assert np.argmax(accents.any(1)) < np.argmax(plain.any(1))  # the accents are above, not a box for each


def test_words_are_upright_where_the_image_is_turned(stage: Stage) -> None:
    annotation = [on("A", texts=[text("lll", [30.0, 10.0, 60.0, 20.0])])]
    shown = stage.shown(GraphicAnnotationSequence=annotation, ImageRotation=180, ImageHorizontalFlip="N") != LEVEL
    rows, columns = np.nonzero(shown)
    assert rows.min() >= 19
    assert np.ptp(columns) > 3
    upright = stage.shown(GraphicAnnotationSequence=annotation) != LEVEL
    again = np.argwhere(upright)
    assert np.ptp(rows) == np.ptp(again[:, 0])


def test_a_line_leads_to_the_anchor_where_it_is_to_be_seen(stage: Stage) -> None:
    for visible, wanted in (("Y", 255), ("N", LEVEL)):
        anchor = {"AnchorPoint": [70.5, 35.5], "AnchorPointAnnotationUnits": "PIXEL", "AnchorPointVisibility": visible}
        shown = stage.shown(GraphicAnnotationSequence=[on("A", texts=[text(".", [5.0, 5.0, 15.0, 15.0], **anchor)])])
        assert shown[35, 70] == wanted


def test_annotations_can_be_left_out(stage: Stage) -> None:
    annotations = [on("A", line([0, 20.5, COLUMNS, 20.5]), texts=[text("A", [5.0, 5.0, 15.0, 15.0])])]
    path = stage.keep(GraphicAnnotationSequence=annotations)
    for value in ("no", ""):
        assert (stage.look(path, f"?annotation={value}") == LEVEL).all()
    for value in ("patient", "technique", "patient,technique"):
        assert (stage.look(path, f"?annotation={value}") == stage.look(path)).all()
    assert (
        stage.look(f"/studies/{STUDY}/series/{STUDY}.{IMAGE}/instances/{STUDY}.{IMAGE}.1", "?annotation=no") == LEVEL
    ).all()


def test_lines_of_the_displayed_area_do_not_turn(stage: Stage) -> None:
    shown = stage.shown(
        GraphicAnnotationSequence=[on("A", line([0, 0.5, 1, 0.5], units="DISPLAY"))],
        ImageRotation=90,
        ImageHorizontalFlip="Y",
        DisplayedAreaSelectionSequence=[area()],
    )
    assert shown.shape == (COLUMNS, ROWS)
    assert (shown == 255).any(1).sum() == 1
    assert (shown[39:41] == 255).any()


def test_lines_of_the_image_follow_it(stage: Stage) -> None:
    """Rotated clockwise, then flipped: the mark in the top left corner goes right, then left again."""
    mark = [on("A", line([2.5, 0.5, 2.5, 10.5]))]
    turned = stage.shown(GraphicAnnotationSequence=mark, ImageRotation=90, ImageHorizontalFlip="N") == 255
    flipped = stage.shown(GraphicAnnotationSequence=mark, ImageRotation=90, ImageHorizontalFlip="Y") == 255
    assert set(np.nonzero(turned)[0]) == {2}
    assert np.nonzero(turned)[1].min() == ROWS - 11
    assert (flipped == turned[:, ::-1]).all()


def test_a_part_is_shown_with_square_pixels(stage: Stage) -> None:
    corners = {"DisplayedAreaTopLeftHandCorner": [11, 11], "DisplayedAreaBottomRightHandCorner": [30, 20]}
    assert stage.shown(DisplayedAreaSelectionSequence=[area(**corners)]).shape == (10, 20)
    high = area(PresentationPixelAspectRatio=[2, 1], **corners)
    assert stage.shown(DisplayedAreaSelectionSequence=[high]).shape == (20, 20)
    wide = area(PresentationPixelSpacing=[0.5, 1.0], **corners)
    assert stage.shown(DisplayedAreaSelectionSequence=[wide]).shape == (10, 40)
    larger = area(PresentationSizeMode="MAGNIFY", PresentationPixelMagnificationRatio=3.0, **corners)
    path = stage.keep(DisplayedAreaSelectionSequence=[larger])
    assert stage.look(path).shape == (30, 60)
    assert stage.look(path, "?viewport=20,20").shape == (10, 20)


def test_an_overlay_is_shown_where_the_state_puts_it_on_a_layer(stage: Stage) -> None:
    assert (stage.shown()[0] == LEVEL).all()  # that of the image is not on a layer
    layers = [layer("BITS", 1, GraphicLayerRecommendedDisplayGrayscaleValue=0x4000)]
    path = stage.keep(GraphicLayerSequence=layers)
    assert (stage.look(path) == LEVEL).all()
    made = {"GraphicLayerSequence": layers, "OverlayActivationLayer": None}
    del made["OverlayActivationLayer"]

    def active(data_set: pydicom.Dataset) -> None:
        data_set.add_new(0x60001001, "CS", "BITS")

    shown = stage.look(keep_edited(stage, active, **made))
    assert (shown[0] == 64).all()
    assert (shown[1:] == LEVEL).all()


def test_an_overlay_of_the_state_may_be_its_shutter(stage: Stage) -> None:
    def shutter(data_set: pydicom.Dataset) -> None:
        overlaid(data_set)  # type: ignore[arg-type]
        data_set.ShutterShape, data_set.ShutterOverlayGroup = "BITMAP", 0x6000
        data_set.ShutterPresentationValue = 0x2000

    path = keep_edited(stage, shutter)
    for query in ("", "?annotation=no"):
        shown = stage.look(path, query)
        assert (shown[0] == 32).all()
        assert (shown[1:] == LEVEL).all()


def keep_edited(stage: Stage, edit: Callable[[pydicom.Dataset], None], **attributes: Any) -> str:
    """A state with what has no keyword."""
    path = stage.keep(**attributes)
    whole = stage.box.get(path, "application/dicom; transfer-syntax=*").body
    made = pydicom.dcmread(BytesIO(whole))
    edit(made)
    stage.count += 1
    stage.box.keep(renamed(made, stage.count, 1))
    return f"/studies/{STUDY}/series/{STUDY}.{stage.count}/instances/{STUDY}.{stage.count}.1"


def test_the_shutter_of_a_plain_image_covers(stage: Stage) -> None:
    shown = stage.look(f"/studies/{STUDY}/series/{STUDY}.{SHUT}/instances/{STUDY}.{SHUT}.1", "?window=128,256")
    assert shown[0, 0] == 0
    assert shown[20, 40] == LEVEL


def test_a_pseudo_colour_state(stage: Stage) -> None:
    ramp, flat = np.arange(256, dtype="<u2") << 8, np.full(256, 0x2000, "<u2")
    palette: dict[str, Any] = {}
    for name, entries in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", flat)):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    shown = stage.shown(sop_class="11.3", **palette)
    assert (shown[5, 5] == (LEVEL, 255 - LEVEL, 32)).all()


def test_a_state_that_subtracts_is_not_shown_as_if_it_did_not(stage: Stage) -> None:
    path = stage.keep(MaskSubtractionSequence=[item(MaskOperation="AVG_SUB", MaskFrameNumbers=1)])
    reply = stage.box.get(f"{path}/rendered", "image/png")
    assert reply.status == 406
    assert b"mask" in reply.body
    assert pixels(stage.box.get(f"{path}/thumbnail", "image/png")).shape == (256, 256)


def test_the_frames_it_is_about_are_those_that_are_shown(stage: Stage) -> None:
    path = stage.keep(about(CINE, 2))
    assert (stage.look(path) == LEVEL + 20).all()
    assert Image.open(BytesIO(stage.box.get(f"{path}/rendered", "image/gif").body)).size == (COLUMNS, ROWS)


def test_an_image_is_shown_under_a_state_that_is_named(stage: Stage) -> None:
    path = stage.keep(PresentationLUTShape="INVERSE")
    series, sop = path.split("/")[4], path.split("/")[6]
    place = f"/studies/{STUDY}/series/{STUDY}.{IMAGE}/instances/{STUDY}.{IMAGE}.1"
    names = f"presentationSeriesUID={series}&presentationUID={sop}"
    plain = stage.box.get(f"{place}/rendered", "image/png")
    under = stage.box.get(f"{place}/rendered?{names}", "image/png", If_None_Match=plain.headers["etag"])
    assert (pixels(under) == 255 - LEVEL).all()
    uids = f"studyUID={STUDY}&seriesUID={STUDY}.{IMAGE}&objectUID={STUDY}.{IMAGE}.1"
    uri = stage.box.get(f"/?requestType=WADO&{uids}&{names}&contentType=image/png")
    assert uri.body == under.body
    other = f"/studies/{STUDY}/series/{STUDY}.{CINE}/instances/{STUDY}.{CINE}.1"
    assert stage.box.get(f"{other}/frames/1/rendered?{names}", "image/png").status == 404
    assert stage.box.get(f"{place}/rendered?{names}&window=1,2", "image/png").status == 400


def test_a_study_is_shown_though_one_of_its_states_cannot_be(stage: Stage) -> None:
    path = stage.keep(about(999))
    assert stage.box.get(f"{path}/rendered", "image/png").status == 404
    assert stage.box.get(f"/studies/{STUDY}/rendered", "*/*").status == 200
