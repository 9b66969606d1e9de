"""Writing `multipart/related` (RFC 2046 §5.1, RFC 2387, PS3.18 §8.6.1.2). Pure: the boundary is an argument."""

from dataclasses import dataclass
from typing import Final

CRLF: Final = "\r\n"


@dataclass(frozen=True, slots=True)
class Multipart:
    """One multipart body. boundary: 16 random bytes in hexadecimal, so that no content holds it.

    transfer_syntax: of every part, "" when they differ or it has no meaning.
    """

    boundary: str
    media_type: str
    transfer_syntax: str = ""

    @property
    def content_type(self) -> str:
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        return f'multipart/related; type="{self.media_type}"{syntax}; boundary={self.boundary}'

    def opening(self, transfer_syntax: str, location: str, length: int | None, *, first: bool) -> bytes:
        """The delimiter and header of a part; the content follows at once.

        Header names keep their capitals: readers in service look for `Content-Type:` letter by letter.
        """
        syntax = f";transfer-syntax={transfer_syntax}" if transfer_syntax else ""
        return "".join(
            (
                "" if first else CRLF,
                f"--{self.boundary}\r\nContent-Type: {self.media_type}{syntax}\r\n",
                f"Content-Location: {location}\r\n",
                "" if length is None else f"Content-Length: {length}\r\n",
                "\r\n",
            )
        ).encode("ascii")

    def least_opening(self, transfer_syntax: str) -> int:
        """The bytes of an opening that is not the first, beside those of its location and of the digits of its length.

        So the length of twenty thousand parts is told before the first leaves, without writing their openings.
        """
        return len(self.opening(transfer_syntax, "", 0, first=False)) - len("0")

    def closing(self) -> bytes:
        """The last delimiter."""
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")
