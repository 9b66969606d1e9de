"""The files of an XDM medium, in a ZIP or in a folder: read one at a time, never written anywhere (ITI TF-2 §3.32).

A medium comes from outside. Names that would lead out of it, links, doubles, encryption and forms of compression whose
cost cannot be told beforehand are refused; so is a file that is larger than its reader allows, whatever the ZIP says.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from drimbox.errors import Malformed, NotFound, TooLarge

MOST_FILES: Final = 100_000
_SETS: Final = re.compile(r"(?:.*/)?IHE_XDM/[^/]+/METADATA\.XML", re.IGNORECASE)
_CHUNK: Final = 2**20
_END_BYTES: Final = 22 + 65_535  # the end record of a ZIP, and the longest comment after it
_DIRECTORY: Final = 200 * MOST_FILES  # bytes of the directory of a ZIP of so many files with names of ours

# What zipfile raises on damage: it believes much of what the directory says.
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class Medium(Protocol):
    """The files of a medium by name, `/` between folders."""

    @property
    def names(self) -> list[str]: ...

    def find(self, name: str) -> str | None:
        """The file of this name, whatever the case of its letters."""

    def read(self, name: str, most: int) -> bytes:
        """The whole file. Raises NotFound, TooLarge over `most` bytes, Malformed when it is damaged."""


def find_sets(medium: Medium) -> Iterator[str]:
    """The METADATA.XML of each submission set, in the order of their names. Raises NotFound when there is none."""
    found = sorted(name for name in medium.names if _SETS.fullmatch(name))
    if not found:
        raise NotFound("XDM", "no IHE_XDM/…/METADATA.XML is in it")
    yield from found


def locate(medium: Medium, metadata: str, uri: str) -> str:
    """The name of the file a URI of `metadata` means: relative to its folder (IHE), or to IHE_XDM (French samples).

    Raises Malformed when it leads elsewhere, NotFound when there is none.
    """
    parts = uri.split("/")
    if not uri or len(uri) > 255 or ".." in parts or parts[0] == "" or re.search(r"[\\:\0%]", uri):
        raise Malformed("URI", "it is to be the name of a file of the medium, relative to METADATA.XML")
    folder = metadata.rpartition("/")[0]
    found = medium.find(f"{folder}/{uri}") or medium.find(f"{folder.rpartition('/')[0]}/{uri}")
    if found is None:
        raise NotFound("document", "the file that METADATA.XML names is not on the medium")
    return found


@dataclass
class ZipMedium:
    """A ZIP. most_bytes: what may be read of it in all, uncompressed; 0 for no limit."""

    file: BinaryIO
    most_files: int = MOST_FILES
    most_bytes: int = 0
    _archive: zipfile.ZipFile = field(init=False, repr=False)
    _entries: dict[str, zipfile.ZipInfo] = field(init=False, repr=False)
    _folded: dict[str, str] = field(init=False, repr=False)
    _read: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        _check_directory(self.file)
        try:
            self._archive = zipfile.ZipFile(self.file)
        except _DAMAGED as error:
            raise Malformed("XDM", "not a sound ZIP") from error
        entries = self._archive.infolist()
        if len(entries) > self.most_files:
            raise TooLarge("XDM", f"over {self.most_files} files")
        self._entries = {}
        for entry in entries:
            _check_entry(entry)
            if entry.filename.endswith("/"):
                continue
            if entry.filename in self._entries:
                raise Malformed("XDM", "two files of the ZIP have one name")
            self._entries[entry.filename] = entry
        self._folded = {name.casefold(): name for name in self._entries}

    @property
    def names(self) -> list[str]:
        """The files, without folders."""
        return list(self._entries)

    def find(self, name: str) -> str | None:
        """The file of this name, whatever the case of its letters."""
        return self._folded.get(name.casefold())

    def read(self, name: str, most: int) -> bytes:
        """The whole file, checked with its CRC. Raises NotFound, TooLarge, Malformed."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound("XDM", "no such file in it")
        if entry.file_size > most:
            raise TooLarge("XDM", f"a file in it is over {most} bytes")
        pieces, size = [], 0
        try:
            with self._archive.open(entry) as stream:
                while piece := stream.read(_CHUNK):
                    size += len(piece)
                    if size > most:
                        raise TooLarge("XDM", f"a file in it is over {most} bytes")
                    pieces.append(piece)
        except _DAMAGED as error:
            raise Malformed("XDM", "a file of the ZIP is damaged") from error
        self._read += size
        if self.most_bytes and self._read > self.most_bytes:
            raise TooLarge("XDM", f"over {self.most_bytes} bytes once uncompressed")
        return b"".join(pieces)


@dataclass(frozen=True)
class FolderMedium:
    """A medium that lies unpacked in a folder, or on a disc."""

    root: Path
    _folded: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.root.rglob("*"):
            if not path.is_symlink() and path.is_file():
                name = path.relative_to(self.root).as_posix()
                self._folded[name.casefold()] = name
                if len(self._folded) > MOST_FILES:
                    raise TooLarge("XDM", f"over {MOST_FILES} files")

    @property
    def names(self) -> list[str]:
        """The files; links are no files."""
        return list(self._folded.values())

    def find(self, name: str) -> str | None:
        """The file of this name, whatever the case of its letters."""
        return self._folded.get(name.casefold())

    def read(self, name: str, most: int) -> bytes:
        """The whole file. Raises NotFound, TooLarge."""
        if self._folded.get(name.casefold()) != name:
            raise NotFound("XDM", "no such file in it")
        with (self.root / name).open("rb") as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise TooLarge("XDM", f"a file in it is over {most} bytes")
        return data


def _check_directory(file: BinaryIO) -> None:
    """The directory is read as a whole: its size is looked at first (APPNOTE.TXT §4.3.14 to §4.3.16)."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES))
    tail = file.read(_END_BYTES)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise Malformed("XDM", "not a ZIP")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory == 0xFFFFFFFF:
        locator = tail[max(0, at - 20) : at]
        if locator[:4] != b"PK\x06\x07":
            raise Malformed("XDM", "not a sound ZIP")
        file.seek(min(int.from_bytes(locator[8:16], "little"), size))
        record = file.read(56)
        directory = int.from_bytes(record[40:48], "little")
    if directory > _DIRECTORY:
        raise TooLarge("XDM", f"its directory is over {_DIRECTORY} bytes")
    file.seek(0)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if not name or name.startswith("/") or ".." in name.split("/") or re.search(r"[\\:\0]", name) or len(name) > 255:
        raise Malformed("XDM", "the name of a file in it leads out of it: nothing of it was read")
    if entry.header_offset < 0:  # zipfile would seek there
        raise Malformed("XDM", "not a sound ZIP")
    if entry.flag_bits & 1:
        raise Malformed("XDM", "it is encrypted: decrypt it first")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Malformed("XDM", "it is compressed in another way than deflate")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise Malformed("XDM", "there is a link in it")
