"""Parts of an answer that is sent alone (RFC 9110 §13.1.5 and §14)."""

import re
from collections.abc import Callable
from dataclasses import replace

from drimbox.dicomweb.answers import Answer, Stream
from drimbox.dicomweb.request import Request

_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))", re.ASCII)


def in_part(
    request: Request, whole: Answer, size: int, read: Callable[[int, int], bytes | bytearray | Stream]
) -> Answer:
    """`whole`, or the part of it that the request wants. size: of the whole. read: from a start, so many bytes.

    With If-Range, a part only of what the caller already holds the beginning of.
    """
    answer = replace(whole, headers=[*whole.headers, (b"accept-ranges", b"bytes")])
    part = (
        None if request.is_head else read_range(request.headers.get("range", ""), size)
    )  # RFC 9110 §14.2: of GET only
    etag = next((value.decode() for name, value in whole.headers if name == b"etag"), "")
    if part is None or request.headers.get("if-range", etag) != etag:
        return answer
    start, length = part
    if length < 1:
        return Answer(416, [(b"content-range", f"bytes */{size}".encode()), (b"accept-ranges", b"bytes")])
    answer.headers.append((b"content-range", f"bytes {start}-{start + length - 1}/{size}".encode()))
    return Answer(206, answer.headers, read(start, length), length)


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and length of the one range asked for; a length of 0 when it lies outside; None for the whole.

    Several ranges, or one that cannot be read, mean the whole, as RFC 9110 §14.2 allows: they cost us nothing then.
    """
    found = _RANGE.fullmatch(text[:100].replace(" ", ""))
    if not found:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return size - length, length
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return start, max(0, end - start + 1)
