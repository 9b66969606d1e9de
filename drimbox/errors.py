"""What can be refused, and nothing else.

    DrimboxError
      Malformed       the bytes or the words are not what the standard says
      TooLarge        a limit of size, count or depth was passed
      NotFound        no such study, series, instance, frame, document
      NotAcceptable   we hold it, but in no form the caller accepts
      Conflict        it contradicts what is already kept
      Unidentified    we do not know who asks
      Denied          we know who asks, and they may not
      NoSpace         the volume is full
      Corrupt         what the medium gives back is not what was kept
      Unavailable     a neighbour, or a part of the node, does not answer now

Doors turn each leaf into a status by a table; anything else that is raised is a bug.
"""


class DrimboxError(Exception):
    """A refusal. `what` and `why` may leave the node; `detail` goes to the log only.

    what: the thing refused, in a word or two ("uid", "Accept"). why: which rule or limit, and what to do.
    None of the three ever carries a value that came from a patient.
    """

    def __init__(self, what: str, why: str = "", *, detail: str = "") -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class Malformed(DrimboxError):
    """The bytes or the words are not what the standard says."""


class TooLarge(DrimboxError):
    """A limit of size, count or depth was passed."""


class NotFound(DrimboxError):
    """No such study, series, instance, frame or document here."""


class NotAcceptable(DrimboxError):
    """We hold it, but in no form the caller accepts."""


class Conflict(DrimboxError):
    """It contradicts what is already kept."""


class Unidentified(DrimboxError):
    """We do not know who asks."""


class Denied(DrimboxError):
    """We know who asks, and they may not."""


class NoSpace(DrimboxError):
    """The volume is full."""


class Corrupt(DrimboxError):
    """What the medium gives back is not what was kept."""


class Unavailable(DrimboxError):
    """A neighbour, or a part of the node, does not answer now. Trying later may succeed."""


def leaves(root: type[DrimboxError] = DrimboxError) -> list[type[DrimboxError]]:
    """Every class of the tree that has no child: the rows each door's status table must have."""
    below = root.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [root]
