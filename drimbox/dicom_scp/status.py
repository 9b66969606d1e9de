"""The door's table: what each refusal is called in DIMSE (PS3.4 table B.2-1, PS3.7 annex C)."""

from typing import Final

from drimbox.errors import (
    Conflict,
    Corrupt,
    Denied,
    DrimboxError,
    Malformed,
    NoSpace,
    NotAcceptable,
    NotFound,
    TooLarge,
    Unavailable,
    Unidentified,
)

SUCCESS: Final = 0x0000
WARNING_SET_ASIDE: Final = 0xB000  # coercion of data elements: the nearest warning of C-STORE
PENDING: Final = 0xFF00
PENDING_PARTIAL: Final = 0xFF01  # some keys are not supported, thus not matched
CANCELLED: Final = 0xFE00
WARNING_FAILED: Final = 0xB000  # sub-operations complete, some failed
UNABLE: Final = 0xA702  # unable to perform sub-operations
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
PROCESSING_FAILURE: Final = 0x0110

# Of any request, PS3.7 annex C.5
INVALID_INSTANCE: Final = 0x0117  # the UID breaks the rules of UIDs
NO_SUCH_CLASS: Final = 0x0118  # SOP_CLASS_NOT_SUPPORTED of the DIMSE-N services
DUPLICATE_INVOCATION: Final = 0x0210
UNRECOGNIZED_OPERATION: Final = 0x0211
MISTYPED_ARGUMENT: Final = 0x0212

DIMSE_STATUS: Final[dict[type[DrimboxError], int]] = {
    Malformed: 0xC000,  # cannot understand
    TooLarge: 0xA700,  # out of resources
    NotFound: 0x0112,  # no such SOP instance
    NotAcceptable: 0x0122,  # SOP class not supported
    Conflict: 0x0111,  # duplicate SOP instance
    Unidentified: 0x0124,  # not authorized
    Denied: 0x0124,
    NoSpace: 0xA700,
    Corrupt: PROCESSING_FAILURE,
    Unavailable: PROCESSING_FAILURE,
}

QUERY_STATUS: Final[dict[type[DrimboxError], int]] = DIMSE_STATUS | {
    NotAcceptable: 0xA900,  # identifier does not match SOP class (PS3.4 table C.4-1)
    TooLarge: 0xA700,  # more matches than are given
}

RETRIEVE_STATUS: Final[dict[type[DrimboxError], int]] = QUERY_STATUS | {  # PS3.4 tables C.4-2 and C.4-3
    NotFound: 0xA801,  # move destination unknown
    TooLarge: 0xA701,  # unable to calculate the number of matches
    Unavailable: UNABLE,
}

COMMIT_STATUS: Final[dict[type[DrimboxError], int]] = DIMSE_STATUS | {  # PS3.7 §10.1.4.1.10
    Malformed: 0x0115,  # invalid argument value
    NotAcceptable: NO_SUCH_CLASS,
    TooLarge: 0x0213,  # resource limitation
    NoSpace: 0x0213,
}
NO_SUCH_ACTION: Final = 0x0123

_LONGEST_COMMENT = 64  # VR LO


def error_comment(text: str) -> str:
    """`text` as an Error Comment (0000,0902): LO, default repertoire, no backslash."""
    return "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)[:_LONGEST_COMMENT].strip()
