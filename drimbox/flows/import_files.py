"""Files of another archive, or of a disc, come in: by the same way as a C-STORE, under the same promises."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drimbox.dicom.scan import identify
from drimbox.errors import Corrupt, DrimboxError, NoSpace, Unavailable
from drimbox.flows.ingest import Ingest
from drimbox.model import Credentials
from drimbox.storage.archive import Outcome
from drimbox.storage.files import OpenFile
from drimbox.storage.spool import Spool

_AT_ONCE: Final = 16  # as many files share a commit
_BLOCK_BYTES: Final = 2**20


@dataclass(frozen=True)
class ImportFiles:
    """Bring files into the archive: Part 10, or a data set without its preface. Their bytes stay as they are."""

    ingest: Ingest

    async def __call__(
        self, paths: Iterable[Path], credentials: Credentials, told: Callable[[Path, Outcome | DrimboxError], None]
    ) -> None:
        """Tell of each file what became of it; a refused one does not hold up the others.

        Raises Denied, Unidentified; and NoSpace or Unavailable, after which no other file was tried.
        """
        reader = await self.ingest.admit(credentials, "store", detail="import began")
        left = iter(paths)
        ends: list[NoSpace | Unavailable] = []
        counts = {True: 0, False: 0}  # refused, and not

        async def work() -> None:
            for path in left:
                if ends:
                    return
                try:
                    outcome: Outcome | DrimboxError = await self._bring(path)
                except (NoSpace, Unavailable) as error:
                    ends.append(error)
                    return
                except DrimboxError as error:
                    outcome = error
                counts[isinstance(outcome, DrimboxError)] += 1
                told(path, outcome)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        await self.ingest.finished(reader, counts[False], counts[True] + len(ends))
        if ends:
            raise ends[0]

    async def _bring(self, path: Path) -> Outcome:
        spool = await asyncio.to_thread(self._read, path)
        return await self.ingest.instance(spool)

    def _read(self, path: Path) -> Spool:
        """The file's data set in a spool, under a preface of ours."""
        try:
            with path.open("rb") as file:
                source = OpenFile(file.fileno(), os.fstat(file.fileno()).st_size)
                preface = identify(source)
                spool = self.ingest.open(preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax)
                try:
                    for begin in range(preface.data_set_offset, source.size, _BLOCK_BYTES):
                        spool.write(source.read_at(begin, _BLOCK_BYTES))
                except BaseException:
                    spool.discard()
                    raise
                return spool
        except OSError as error:
            raise Corrupt("file", f"cannot be read (errno {error.errno})") from error


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named, folder by folder. A DICOMDIR speaks of others: left out."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                found = Path(folder, name)
                if name.upper() != "DICOMDIR" and found.is_file():
                    yield found
