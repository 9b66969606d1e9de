"""The log: for the operator, one JSON object a line, on stderr. Fields, not sentences; nothing about a patient."""

import logging
import sys
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
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), "by": record.name, **fields}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def set_up_log(level: int = logging.INFO) -> None:
    """Send every logger of the process to stderr. Libraries speak from warnings on only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("drimbox").setLevel(level)
    # httpx2 and pynetdicom would write URLs and identifiers.
    for name in ("httpx2", "httpcore2", "pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
