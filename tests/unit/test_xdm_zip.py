"""A medium from outside: nothing leads out of it, nothing grows without end, nothing is written."""

import io
import struct
import zipfile

import pytest

from drimbox.errors import Malformed, NotFound, TooLarge
from drimbox.xds.xdm_zip import FolderMedium, ZipMedium, find_sets, locate

METADATA = "IHE_XDM/SS000001/METADATA.XML"


def a_zip(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content, **options)
    return buffer


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([METADATA], [METADATA]),
        ([f"KA202601/{METADATA}"], [f"KA202601/{METADATA}"]),
        (["ihe_xdm/Subset01/metadata.xml"], ["ihe_xdm/Subset01/metadata.xml"]),
        (
            ["IHE_XDM/B/METADATA.XML", "IHE_XDM/A/METADATA.XML", "README.TXT"],
            ["IHE_XDM/A/METADATA.XML", "IHE_XDM/B/METADATA.XML"],
        ),
    ],
)
def test_submission_sets_are_found_wherever_the_medium_begins(names, found):
    assert list(find_sets(ZipMedium(a_zip([(name, "x") for name in names])))) == found


@pytest.mark.parametrize("names", [[], ["README.TXT"], ["METADATA.XML"], ["IHE_XDM/METADATA.XML"]])
def test_a_zip_of_something_else_is_told_so(names):
    with pytest.raises(NotFound):
        list(find_sets(ZipMedium(a_zip([(name, "x") for name in names]))))


@pytest.mark.parametrize("uri", ["KOS_1_1.DCM", "SS000001/KOS_1_1.DCM", "kos_1_1.dcm"])
def test_a_uri_is_relative_to_its_metadata_or_to_the_root(uri):
    medium = ZipMedium(a_zip([(METADATA, "x"), ("IHE_XDM/SS000001/KOS_1_1.DCM", "kos")]))
    assert medium.read(locate(medium, METADATA, uri), 10) == b"kos"


@pytest.mark.parametrize(
    "uri", ["", "/etc/passwd", "../SS000002/KOS.DCM", "a/../../b", "C:\\x", "file:x", "a\\b", "%2e%2e/x", "x" * 300]
)
def test_a_uri_that_leads_elsewhere_is_refused(uri):
    medium = ZipMedium(a_zip([(METADATA, "x"), ("IHE_XDM/SS000002/KOS.DCM", "kos"), ("b", "x")]))
    with pytest.raises(Malformed):
        locate(medium, METADATA, uri)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:/x", "a\\..\\x"])
def test_a_name_that_leads_out_refuses_the_whole_medium(name):
    with pytest.raises(Malformed):
        ZipMedium(a_zip([(METADATA, "x"), (name, "x")]))


def test_links_doubles_and_other_compressions_are_refused():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(Malformed):
        ZipMedium(a_zip([(link, "/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        double = a_zip([("a", "1"), ("a", "2")])
    with pytest.raises(Malformed):
        ZipMedium(double)
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(Malformed):
            ZipMedium(a_zip([("a", "1")], compress_type=kind))


def test_a_bomb_is_read_no_further_than_its_limit():
    medium = ZipMedium(a_zip([("bomb", bytes(50 << 20))]))
    with pytest.raises(TooLarge):
        medium.read("bomb", 1 << 20)


def test_a_bomb_that_lies_about_its_size_too():
    data = bytearray(a_zip([("bomb", bytes(8 << 20))]).getvalue())
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 10)  # uncompressed size
    data[22:26] = struct.pack("<I", 10)
    with pytest.raises((TooLarge, Malformed)):
        ZipMedium(io.BytesIO(bytes(data))).read("bomb", 1 << 20)


def test_many_small_ones_are_a_bomb_too():
    medium = ZipMedium(a_zip([(str(number), bytes(1 << 20)) for number in range(5)]), most_bytes=3 << 20)
    with pytest.raises(TooLarge):
        for name in medium.names:
            medium.read(name, 1 << 20)
    with pytest.raises(TooLarge):
        ZipMedium(a_zip([(str(number), b"") for number in range(5)]), most_files=4)


def test_a_directory_too_large_is_not_even_read():
    data = bytearray(a_zip([("a", "1")]).getvalue())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 0xF0000000)
    with pytest.raises(TooLarge):
        ZipMedium(io.BytesIO(bytes(data)))


def test_damage_is_told_as_damage():
    data = bytearray(a_zip([("a", b"content" * 100)]).getvalue())
    data[40] ^= 0xFF
    with pytest.raises(Malformed):
        ZipMedium(io.BytesIO(bytes(data))).read("a", 10_000)
    for cut in (0, 10, len(data) - 1):
        with pytest.raises(Malformed):
            ZipMedium(io.BytesIO(bytes(data[:cut])))
    with pytest.raises(NotFound):
        ZipMedium(a_zip([("a", "1")])).read("b", 10)


def test_an_offset_before_the_beginning_is_damage(tmp_path):
    data = bytearray(a_zip([("a", b"content"), ("b", b"content")]).getvalue())
    end = data.rfind(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    data[end + 16 : end + 20] = struct.pack("<I", start + 60)  # the directory is told to begin later than it does
    for file in (io.BytesIO(bytes(data)), (tmp_path / "x").open("w+b")):
        file.write(bytes(data))
        with file, pytest.raises(Malformed):
            ZipMedium(file).read("a", 100)


def test_a_file_without_a_name_is_refused():
    data = bytearray(a_zip([("a", b"1")]).getvalue())
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 28 : directory + 30] = struct.pack("<H", 0)  # the length of its name, which becomes its comment
    data[directory + 32 : directory + 34] = struct.pack("<H", 1)
    with pytest.raises(Malformed):
        ZipMedium(io.BytesIO(bytes(data)))


def test_a_folder_is_read_like_a_zip_and_its_links_are_not(tmp_path):
    folder = tmp_path / "medium" / "IHE_XDM" / "SS000001"
    folder.mkdir(parents=True)
    (folder / "METADATA.XML").write_text("x")
    (folder / "KOS_1_1.DCM").write_bytes(b"kos")
    outside = tmp_path / "secret"
    outside.write_text("secret")
    (folder / "LINK.DCM").symlink_to(outside)
    medium = FolderMedium(tmp_path / "medium")
    assert list(find_sets(medium)) == [METADATA]
    assert medium.read(locate(medium, METADATA, "KOS_1_1.DCM"), 10) == b"kos"
    with pytest.raises(NotFound):
        locate(medium, METADATA, "LINK.DCM")
    with pytest.raises(TooLarge):
        medium.read(METADATA, 0)
    with pytest.raises(NotFound):
        medium.read("../secret", 10)
