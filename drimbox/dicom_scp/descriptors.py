"""File descriptors: a thousand associations need more than the 1,024 a Linux process begins with."""

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

_OTHERS: Final = 256  # of the index, the trail, the other doors, the workers


def allow_descriptors(connections: int) -> None:
    """Take what the system lets this process have: a socket and a file for each connection, and some.

    Less than that is told in the log: the limit of the service, not `dicom.max_associations`, will then turn senders
    away, without a word to them.
    """
    needed = 2 * connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning("few_descriptors", extra={"allowed": allowed, "needed": needed})
