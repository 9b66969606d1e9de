"""The tables of docs/conformance.md, made by asking the code: each is Markdown, named as its place in the document."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID_dictionary

from drimbox import errors, problems, tls
from drimbox.dicom import charset, match, pdu
from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.levels import MATCHED
from drimbox.dicom.match import Level
from drimbox.dicom.pdu import APPLICATION_CONTEXT, AssociateRequest, ContextResult, ProposedContext, Rejection
from drimbox.dicom.uid import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    is_storage,
)
from drimbox.dicom.user_information import Role, UserInformation
from drimbox.dicom_scp import status
from drimbox.dicom_scp.negotiation import GET_ROOTS, answer
from drimbox.dicomweb.capabilities import ROUTES
from drimbox.dicomweb.media_types import frame_media_types
from drimbox.dicomweb.stow_answer import FAILURE_REASON, SET_ASIDE
from drimbox.errors import DrimboxError
from drimbox.hl7.ack import ACK_CODE
from drimbox.pixels.plan import possible
from drimbox.settings import Dicom

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "conformance.md"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- What is negotiated: asked of the negotiation itself ------------------------------------------------------------


def _sop_classes() -> list[tuple[str, str]]:
    """(name, UID) of every SOP class of PS3.6 annex A."""
    found = [(row[0], uid) for uid, row in UID_dictionary.items() if row[1] in ("SOP Class", "Meta SOP Class")]
    return sorted(found, key=lambda pair: [int(part) for part in pair[1].split(".")])


@lru_cache
def _accepted(uid: str) -> tuple[tuple[str, ...], bool]:
    """Transfer syntaxes accepted for a SOP class, and whether the requestor may be its SCP beside a C-GET."""
    pairs = [(uid, syntax) for syntax in TRANSFER_SYNTAXES] + [(next(iter(GET_ROOTS)), IMPLICIT_LITTLE_ENDIAN)]
    contexts = tuple(ProposedContext(2 * at + 1, name, (syntax,)) for at, (name, syntax) in enumerate(pairs))
    user = UserInformation(0, "1.2", roles=(Role(uid, True, True),))
    accept, _ = answer(AssociateRequest("BOX", "ASKER", contexts, user, APPLICATION_CONTEXT), 0)
    found = tuple(each.transfer_syntax for each in accept.contexts[:-1] if each.result == ContextResult.ACCEPTED)
    return found, any(role.scp for role in accept.user.roles)


def services() -> str:
    """Everything but storage, one row a SOP class."""
    rows = []
    for name, uid in _sop_classes():
        syntaxes, is_receiver = _accepted(uid)
        if syntaxes and not is_storage(uid):
            names = (
                "every one of section 4.2.3"
                if len(syntaxes) > 3
                else ", ".join(TRANSFER_SYNTAXES[one].name for one in syntaxes)
            )
            rows.append([name.split(" (")[0], f"`{uid}`", "SCP" + (", SCU" if is_receiver else ""), names])
    classes = [uid for _, uid in _sop_classes() if is_storage(uid) and _accepted(uid)[0]]
    _, is_receiver = _accepted(classes[0])
    role = "SCP" + (", SCU within C-GET" if is_receiver else "")
    rows.append(
        [
            f"Storage: {len(classes)} classes of annex 8.1, later ones, private ones",
            "",
            role,
            "every one of section 4.2.3",
        ]
    )
    return table(["SOP class", "UID", "our role", "transfer syntaxes"], rows)


def storage() -> str:
    rows = [[name, f"`{uid}`"] for name, uid in _sop_classes() if is_storage(uid) and _accepted(uid)[0]]
    return table(["SOP class", "UID"], rows)


def transfer_syntaxes() -> str:
    """What is kept, and in which others it can be given by DICOMweb."""
    rows = []
    for uid, syntax in TRANSFER_SYNTAXES.items():
        given = possible(uid)[1:]
        more = (
            f"{TRANSFER_SYNTAXES[given[0]].name}{f', {len(given) - 1} compressed' if given[1:] else ''}"
            if given
            else ""
        )
        media = ", ".join(f"`{name}`" for name in frame_media_types(uid)[:-1])
        rows.append([syntax.name, f"`{uid}`", "may be lossy" if syntax.lossy else "", media, more])
    return table(["name", "UID", "", "media type of a frame, beside `application/octet-stream`", "given also in"], rows)


def implementation() -> str:
    rows = [
        ["Application context", f"`{APPLICATION_CONTEXT}`"],
        ["Implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"],
        ["Implementation version name", f"`{IMPLEMENTATION_VERSION_NAME}`"],
        ["Maximum length received", f"`dicom.max_pdu_bytes`, {_default('max_pdu_bytes')}"],
        ["Associations at once", f"`dicom.max_associations`, {_default('max_associations')}"],
        ["Asynchronous operations window", "(1, 1), answered when asked for"],
    ]
    return table(["what", "value"], rows)


def _default(name: str) -> object:
    return Dicom.model_fields[name].default


def rejections() -> str:
    found = {name: value for name, value in vars(pdu).items() if isinstance(value, Rejection)}
    rows = [
        [name.replace("_", " ").lower(), str(value.result), str(value.source), str(value.reason)]
        for name, value in sorted(found.items(), key=lambda pair: (pair[1].result, pair[1].source, pair[1].reason))
    ]
    return table(["reason", "result", "source", "reason code"], rows)


# --- What is answered -----------------------------------------------------------------------------------------------


MEANING = {  # PS3.4 tables B.2-1 and C.4-1 to C.4-3, PS3.7 annex C
    0x0000: "Success",
    0x0110: "Processing failure",
    0x0112: "No such SOP instance",
    0x0115: "Invalid argument value",
    0x0117: "Invalid SOP instance",
    0x0118: "No such SOP class",
    0x0122: "SOP class not supported",
    0x0123: "No such action type",
    0x0124: "Not authorized",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
    0xA700: "Refused: out of resources",
    0xA701: "Refused: out of resources, unable to calculate number of matches",
    0xA702: "Refused: out of resources, unable to perform sub-operations",
    0xA801: "Refused: move destination unknown",
    0xA900: "Error: identifier does not match SOP class",
    0xB000: "Warning",
    0xC000: "Error: cannot understand, unable to process",
    0xFE00: "Cancel",
    0xFF00: "Pending",
    0xFF01: "Pending, optional keys were not supported",
}
NO_ANSWER = "the index, the trail or the medium fails; the log has the incident"
NOT_UNDERSTOOD = "the Identifier, or a value in it, cannot be understood"
WRONG_MODEL = "no Query/Retrieve Level of the model"


def _statuses(said: Mapping[int, str], leaves: Mapping[type[DrimboxError], str], codes: Mapping[type, int]) -> str:
    """said: by code. leaves: those that this service can meet, whose codes are the door's own."""
    found: dict[int, list[str]] = {code: [text] for code, text in said.items()}
    for leaf, text in leaves.items():
        found.setdefault(codes[leaf], []).append(text)
    rows = [[f"`{code:04X}`", MEANING[code], "; ".join(dict.fromkeys(texts))] for code, texts in sorted(found.items())]
    return table(["status", "meaning", "when"], rows)


def request_statuses() -> str:
    """Of any service, before it looks at the data set."""
    said = {
        status.SOP_CLASS_NOT_SUPPORTED: "a DIMSE-C request names no SOP class, or another than its context is for",
        status.NO_SUCH_CLASS: "N-ACTION names no SOP class, or another than its context is for",
        status.INVALID_INSTANCE: "C-STORE, N-ACTION: the SOP Instance UID is absent, or is no UID",
        status.DUPLICATE_INVOCATION: "it came while a C-FIND, C-GET or C-MOVE of its Message ID was under way",
        status.UNRECOGNIZED_OPERATION: "not an operation of the SOP class of the presentation context",
        status.MISTYPED_ARGUMENT: "a priority or type that is not of two bytes",
    }
    return _statuses(said, {}, status.DIMSE_STATUS)


def store_statuses() -> str:
    said = {
        status.SUCCESS: "the instance is durable; also when the same bytes were sent again",
        status.WARNING_SET_ASIDE: "the SOP Instance UID is kept with other bytes: these are durable too, set aside",
    }
    leaves: dict[type[DrimboxError], str] = {
        errors.Malformed: "the data set cannot be understood, or is not what the command announced",
        errors.TooLarge: "the object passes `dicom.max_object_bytes`, or a limit of depth or count; or its sender has "
        "more under way than `dicom.max_unfinished_bytes_per_caller`",
        errors.NoSpace: "the volume is full",
        errors.Unavailable: NO_ANSWER,
        errors.Corrupt: NO_ANSWER,
    }
    return _statuses(said, leaves, status.DIMSE_STATUS)


def find_statuses() -> str:
    said = {
        status.SUCCESS: "no more matches",
        status.PENDING: "one match",
        status.PENDING_PARTIAL: "one match; a key that is not supported was not matched",
        status.CANCELLED: "C-CANCEL was received",
    }
    leaves: dict[type[DrimboxError], str] = {
        errors.Malformed: NOT_UNDERSTOOD,
        errors.NotAcceptable: WRONG_MODEL,
        errors.TooLarge: "more match than can be given (those that can were), or the Identifier or a list is too long",
        errors.Denied: "the caller may not search",
        errors.Unavailable: NO_ANSWER,
        errors.Corrupt: NO_ANSWER,
    }
    return _statuses(said, leaves, status.QUERY_STATUS)


def retrieve_statuses() -> str:
    said = {
        status.SUCCESS: "all were stored, some perhaps with a warning; or nothing matched",
        status.PENDING: "a sub-operation ended",
        status.WARNING_FAILED: "some failed: no context, a damaged file, or a failure from whoever is sent them",
        status.UNABLE: "all of them failed",
        status.CANCELLED: "C-CANCEL was received; the instance under way was finished",
    }
    leaves: dict[type[DrimboxError], str] = {
        errors.Malformed: NOT_UNDERSTOOD,
        errors.NotAcceptable: f"{WRONG_MODEL}; a unique key is absent or has too many values",
        errors.NotFound: "the destination is not in `dicom.destinations`",
        errors.TooLarge: "more than 10,000 names or 65,535 instances",
        errors.Denied: "the caller may not retrieve",
        errors.Unavailable: "the destination takes no association; or the trail or the index does not answer",
    }
    return _statuses(said, leaves, status.RETRIEVE_STATUS)


def commitment_statuses() -> str:
    said = {
        status.SUCCESS: "the report is owed, whatever crashes",
        status.NO_SUCH_ACTION: "an action type other than 1",
    }
    leaves: dict[type[DrimboxError], str] = {
        errors.NotFound: "not the well-known instance",
        errors.Malformed: "the Action Information, its Transaction UID, or a UID in it cannot be understood",
        errors.TooLarge: "the Action Information is too long",
        errors.NoSpace: "the volume is full",
        errors.Unavailable: NO_ANSWER,
    }
    return _statuses(said, leaves, status.COMMIT_STATUS)


def http_statuses() -> str:
    rows = sorted((code, (leaf.__doc__ or "").splitlines()[0]) for leaf, code in problems.HTTP_STATUS.items())
    return table(["status", "when"], [[str(code), text.rstrip(".")] for code, text in rows])


def hl7_answers() -> str:
    rows: dict[str, list[str]] = {}
    for leaf, code in ACK_CODE.items():
        rows.setdefault(code, []).append((leaf.__doc__ or "").splitlines()[0].rstrip("."))
    return table(["MSA-1", "when"], [[f"`{code}`", "; ".join(texts)] for code, texts in sorted(rows.items())])


# --- What is matched ------------------------------------------------------------------------------------------------

LEVELS: Mapping[Level, str] = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
UNIQUE = {"0020000D": "STUDY", "0020000E": "SERIES", "00080018": "IMAGE", "00100020": "PATIENT"}
REQUIRED = {  # PS3.4 tables C.6-1 to C.6-5 and the Study Root's
    "00080020", "00080030", "00080050", "00100010", "00100020", "00200010", "00080060", "00200011", "00200013",
}  # fmt: skip


OF_THE_ANSWER = {"00080005", "00080056", "00080201"}  # they tell how the answer is written, or where it is


def find_attributes() -> str:
    """Each attribute at the highest level it belongs to: it can be asked for there and at the levels below."""
    seen: set[str] = set()
    rows = []
    for level, name in LEVELS.items():
        for tag in sorted(MATCHED[level] - seen - OF_THE_ANSWER):
            number = int(tag, 16)
            kind = "U" if UNIQUE.get(tag) == name else "R" if tag in REQUIRED else "O"
            vr = vr_of(number)
            rows.append([f"({tag[:4]},{tag[4:]})", keyword_for_tag(number), vr, name, kind, _matching(vr)])
        seen |= MATCHED[level]
    return table(["tag", "keyword", "VR", "level", "type", "matching"], rows)


def _matching(vr: str) -> str:
    """By what `dicom.match` makes of a value of this VR."""
    kinds = {
        "UI": "single value, list of UIDs",
        "DA": "single value, range",
        "TM": "single value, range",
        "DT": "single value, range",
        "SQ": "by the attributes in it",
    }
    if vr in kinds:
        return kinds[vr]
    wild = isinstance(match.criterion(_example(vr), "A*"), match.Wildcard)
    name = "; without case and accents" if vr == "PN" else ""
    return ("single value, wild card" if wild else "single value") + name


def _example(vr: str) -> str:
    """A tag of that VR."""
    return next(tag for level in LEVELS for tag in sorted(MATCHED[level]) if vr_of(int(tag, 16)) == vr)


# --- The rest -------------------------------------------------------------------------------------------------------


def settings(section: str) -> str:
    """The rows of docs/settings.md, which a test holds against the code."""
    rows = re.findall(rf"^\| `({section}\.[^`]+)` \| (.*) \| (.*) \|$", (ROOT / "docs/settings.md").read_text(), re.M)
    return table(
        ["parameter", "default", "meaning"], [[f"`{key}`", default, meaning] for key, default, meaning in rows]
    )


def characters() -> str:
    rows = []
    for term, codec in charset._CODECS.items():
        single = term if not term.isdigit() else f"ISO_IR {term}"
        extended = f"ISO 2022 IR {term}" if term.isdigit() and codec not in charset._ALONE else ""
        rows.append([f"`{single}`", f"`{extended}`" if extended else "", codec])
    return table(["defined term", "with code extensions", "read as"], rows)


def suites() -> str:
    return table(["TLS 1.2 cipher suite, by OpenSSL's name", "done"], [[f"`{it}`", _is_done(it)] for it in tls.SUITES])


def _is_done(suite: str) -> str:
    """tests/rooms/test_tls.py tries each that is."""
    if "CAMELLIA" in suite:
        return "no: OpenSSL has no Camellia in GCM"
    return "until OpenSSL 3.1; later ones rate its short tag below their security level" if "CCM8" in suite else "yes"


def resources() -> str:
    """DICOMweb, as the door itself describes it to OPTIONS."""

    def types(names: Sequence[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    rows = [
        [f"`/{route.path}`", route.method, route.service, types(route.takes), types(route.answers)] for route in ROUTES
    ]
    return table(["resource", "method", "service", "takes", "answers with"], rows)


def stow_reasons() -> str:
    rows = [[f"`{SET_ASIDE:04X}`", "warning", "the SOP Instance UID is kept with other bytes: these are set aside"]]
    said: dict[type[DrimboxError], str] = {
        errors.TooLarge: "the object passes `dicom.max_object_bytes`, or a limit of depth or count",
        errors.Conflict: "the instance is of another study than the URL names",
        errors.NotAcceptable: "not a SOP class that is stored; or compressed pixels that cannot be put together",
        errors.Malformed: "the instance cannot be understood, or is not what its preface announced",
        errors.Unavailable: NO_ANSWER,
    }
    found = sorted((FAILURE_REASON[leaf], text) for leaf, text in said.items())
    rows += [[f"`{code:04X}`", "failure", text] for code, text in found]
    return table(["reason", "kind", "when"], rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "services": services,
    "implementation": implementation,
    "rejections": rejections,
    "transfer syntaxes": transfer_syntaxes,
    "request statuses": request_statuses,
    "C-STORE statuses": store_statuses,
    "C-FIND attributes": find_attributes,
    "C-FIND statuses": find_statuses,
    "retrieve statuses": retrieve_statuses,
    "N-ACTION statuses": commitment_statuses,
    "DICOM parameters": lambda: settings("dicom"),
    "PACS parameters": lambda: settings("pacs"),
    "DICOMweb resources": resources,
    "STOW reasons": stow_reasons,
    "HTTP statuses": http_statuses,
    "HL7 answers": hl7_answers,
    "character sets": characters,
    "cipher suites": suites,
    "storage classes": storage,
}

_PLACE = re.compile(r"<!-- made: (.+?) -->\n(.*?)<!-- end -->", re.S)


def filled(document: str) -> str:
    """The document with each table as it should be. Raises KeyError for a place of no table."""
    return _PLACE.sub(lambda found: f"<!-- made: {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- end -->", document)


def places(document: str) -> list[str]:
    """The tables a document has, in order."""
    return [found[1] for found in _PLACE.finditer(document)]
