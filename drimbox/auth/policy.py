"""Who may do what, decided from the configuration alone. Pure.

What a door saw (`Credentials`) becomes a `Reader`, or a refusal: Unidentified when we do not know who asks, Denied when
we know and they may not. Nothing here reads or writes anything; `flows.admit` traces the decision.

An AE title and an address are no proof of identity (PS3.15 §B is: TLS with certificates); they keep strangers of the
local network out, which is what `dicom.callers` and `hl7.senders` promise.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Door, Reader
from drimbox.settings import Caller, Dicom, Hl7, Settings, is_loopback

CALLED_TITLE: Final = "called AE title"
"""What a Denied is about when the caller is known and asked for somebody else."""

USER_IDENTITY: Final = "user identity"
"""What an Unidentified is about when the caller is known, and who uses it is not."""

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
    """AE title, address and certificate together; spaces around an AE title mean nothing (PS3.5 §6.2, VR AE).

    The called AE title is looked at last, so that a stranger does not learn ours by trying; and only where callers are
    listed: on loopback every program calls the node by another name.
    """
    title = credentials.calling.strip(" ")
    if dicom.callers:
        if not any(_is_caller(credentials, title, caller) for caller in dicom.callers):
            raise Denied("association", "this AE title, address, certificate and user are not in dicom.callers")
        if credentials.called.strip(" ") not in (title.strip(" ") for title in (dicom.ae_title, *dicom.other_titles)):
            raise Denied(CALLED_TITLE, "not dicom.ae_title, nor one of dicom.other_titles")
    elif not _is_loopback(credentials.address):
        raise Denied("association", "dicom.callers is empty: only this machine may call")
    if dicom.users_required and not credentials.user:
        raise Unidentified(USER_IDENTITY, "dicom.users_required is true: name a user when the association is opened")
    user = f" user:{credentials.user}" if credentials.user else ""
    shown = f" [{credentials.certificate}]" if credentials.certificate else ""
    return f"ae:{title}@{credentials.address}{shown}{user}"


def _is_caller(credentials: Credentials, title: str, caller: Caller) -> bool:
    return (
        title == caller.ae_title.strip(" ")
        and _is_in(credentials.address, caller.address)
        and caller.certificate in ("", credentials.certificate)
        and caller.user in ("", credentials.user)
    )


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
    return f"operator:{credentials.calling}" if credentials.door == "operator" and credentials.calling else "loopback"


@lru_cache(maxsize=1024)  # asked for each frame, of the same few addresses
def _is_loopback(address: str) -> bool:
    """The address of a socket, so never a name; an IPv4 client of an IPv6 socket shows as ::ffff:127.0.0.1."""
    parsed = _parsed(address)
    return parsed is not None and is_loopback(str(parsed))


def _is_same(address: str, configured: str) -> bool:
    """Two spellings of one address are one address. A configured name is no address: it never matches."""
    parsed = _parsed(address)
    return parsed is not None and parsed == _parsed(configured)


def _is_in(address: str, network: str) -> bool:
    """Is the address this one, or one of this network (CIDR)?"""
    parsed = _parsed(address)
    return parsed is not None and (parsed in ip_network(network) or _is_same(address, network))


@lru_cache(maxsize=1024)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
