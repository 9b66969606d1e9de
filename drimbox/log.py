"""The log: for the operator, one JSON object a line, on stderr. Fields, not sentences; nothing about a patient."""

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Final

import orjson

_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "event": _event(record), "by": record.name, **fields}
        if record.exc_info and record.exc_info[1]:
            line["trace"] = _trace(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def _event(record: logging.LogRecord) -> str:
    """Ours are fixed names. Of a library's message the words without the values; asyncio's have them mixed in."""
    if record.name.startswith("drimbox"):
        return record.getMessage()
    return "loop_failed" if record.name == "asyncio" else str(record.msg).strip()


def _trace(error: BaseException) -> list[str]:
    """Where it came from: classes and lines of code, causes first; never the words of an exception, nor its notes.

    Those of a foreign library quote the value they stumbled on, which may be a patient's name.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    frames = traceback.extract_tb(error.__traceback__)
    nested = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [
        *(_trace(cause) if cause else ()),
        *(line for one in nested for line in _trace(one)),
        f"{type(error).__module__}.{type(error).__qualname__}",
        *(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
    ]


def set_up_log(level: int = logging.INFO) -> None:
    """Send every logger of the process to stderr. Libraries speak from warnings on only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("drimbox").setLevel(level)
    sys.excepthook = lambda kind, error, _: _crashed(error)
    threading.excepthook = lambda ended: _crashed(ended.exc_value)
    logging.captureWarnings(True)
    # httpx2 and pynetdicom would write URLs and identifiers; warnings of pydicom quote values.
    for name in ("httpx2", "httpcore2", "pynetdicom", "pydicom", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _crashed(error: BaseException | None) -> None:
    """What nobody caught: Python would write its words to stderr."""
    logging.getLogger(__name__).critical("crashed", exc_info=error)
