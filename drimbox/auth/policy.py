"""Who may do what, decided from the configuration alone. Pure.

What a door saw (`Credentials`) becomes a `Reader`, or a refusal: Unidentified when we do not know who asks, Denied when
we know and they may not. Nothing here reads or writes anything; `flows.admit` traces the decision.

An AE title and an address are no proof of identity (PS3.15 §B is: TLS with certificates); they keep strangers of the
local network out, which is what `dicom.callers` and `hl7.senders` promise.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Door, Reader
from drimbox.settings import Dicom, Hl7, Settings, is_loopback

_ALLOWED: dict[Door, frozenset[Action]] = {
    "dicom": frozenset({"echo", "store", "search", "retrieve"}),
    "hl7": frozenset({"report"}),
    "http": frozenset({"store", "search", "retrieve", "consult", "operate"}),
    "operator": frozenset({"store", "search", "retrieve", "report", "consult", "operate"}),
}


def decide(credentials: Credentials, action: Action, settings: Settings) -> Reader:
    """The reader these credentials stand for, if they may do `action`. Raises Unidentified or Denied."""
    if credentials.door == "dicom":
        identity = _dicom_caller(credentials, settings.dicom)
    elif credentials.door == "hl7":
        identity = _hl7_sender(credentials, settings.hl7)
    else:
        identity = _person(credentials)
    if action not in _ALLOWED[credentials.door]:
        raise Denied("access", f"{action} is not offered by the {credentials.door} door")
    return Reader(identity, credentials.door, credentials.address)


def _dicom_caller(credentials: Credentials, dicom: Dicom) -> str:
    """AE title and address together; spaces around an AE title mean nothing (PS3.5 §6.2, VR AE).

    Any called AE title is accepted: sites address one node by several, and the title proves nothing.
    """
    title = credentials.calling.strip(" ")
    if dicom.callers:
        if not any(
            title == caller.ae_title.strip(" ") and _is_same(credentials.address, caller.address)
            for caller in dicom.callers
        ):
            raise Denied("association", "this AE title at this address is not in dicom.callers")
    elif not _is_loopback(credentials.address):
        raise Denied("association", "dicom.callers is empty: only this machine may call")
    return f"ae:{title}@{credentials.address}"


def is_hl7_sender(address: str, hl7: Hl7) -> bool:
    """May this address use the MLLP door at all? The door asks before it reads a byte."""
    if hl7.senders:
        return any(_is_same(address, sender) for sender in hl7.senders)
    return _is_loopback(address)


def _hl7_sender(credentials: Credentials, hl7: Hl7) -> str:
    if not is_hl7_sender(credentials.address, hl7):
        raise Denied("message", "this address is not in hl7.senders, which when empty means this machine only")
    return f"hl7:{credentials.calling}@{credentials.address}"


def _person(credentials: Credentials) -> str:
    """`auth.mode` is `none`: whoever sits at this machine. Anyone else is nobody until there is a login (P15)."""
    if not _is_loopback(credentials.address):
        raise Unidentified("access", "auth.mode is none: only this machine may ask")
    return "loopback"


def _is_loopback(address: str) -> bool:
    """The address of a socket, so never a name; an IPv4 client of an IPv6 socket shows as ::ffff:127.0.0.1."""
    parsed = _parsed(address)
    return parsed is not None and is_loopback(str(parsed))


def _is_same(address: str, configured: str) -> bool:
    """Two spellings of one address are one address. A configured name is no address: it never matches."""
    parsed = _parsed(address)
    return parsed is not None and parsed == _parsed(configured)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
