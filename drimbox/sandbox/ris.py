"""A radiology information system, played: it writes a report as ORU^R01 or MDM^T02 and sends it by MLLP."""

import base64
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal
from uuid import uuid4

from drimbox.errors import Unavailable
from drimbox.hl7.message import Value, build_segment
from drimbox.model import Identifier, Patient
from drimbox.sandbox.ris_document import INS, LOCAL_ID_AUTHORITY, PATIENT, STRUCTURE, Study, build_cda

__all__ = ["INS", "PATIENT", "STRUCTURE", "Study", "build_mdm", "build_oru", "send_report"]

FLAGS: Final = (  # the table MetaDMPMSS, with what a RIS sends when nobody asked for anything
    ("MASQUE_PS", "Masqué aux professionnels de Santé", False),
    ("INVISIBLE_PATIENT", "Document Non Visible par le patient", False),
    ("INVISIBLE_REP_LEGAUX", "Non visible par les représentants Légaux du patient", False),
    ("CONNEXION_SECRETE", "Connexion Secrete", False),
    ("MODIF_CONF_CODE", "Modification Confidentiality Code", False),
    ("DESTDMP", "Destinataire DMP", True),
    ("DESTMSSANTEPS", "Destinataire Professionnel de Santé", False),
    ("DESTMSSANTEPAT", "Destinataire Patient", False),
)
_NO_FLAGS: Final[Mapping[str, bool]] = MappingProxyType({})


def build_oru(
    studies: Study | Sequence[Study],
    at: datetime,
    *,
    patient: Patient = PATIENT,
    status: Literal["F", "C", "D"] = "F",
    flags: Mapping[str, bool] = _NO_FLAGS,
    message_id: str = "",
    cda: bytes = b"",
) -> bytes:
    """Write an ORU^R01, HL7 2.5, with its CDA inside. at: aware, of the report.

    status: OBX-11. flags: values of `FLAGS` to change. message_id: MSH-10, new when empty. cda: another document.
    """
    several = (studies,) if isinstance(studies, Study) else tuple(studies)
    patient = _as_in_images(patient, several)
    number = message_id or uuid4().hex[:20]
    order = ("984375862", "RIS")
    lines = [
        _msh(("ORU", "R01", "ORU_R01"), "2.5", number, at),
        _pid(patient),
        build_segment("PV1", "1", "O"),
        build_segment("ORC", "NW"),
        build_segment("OBR", "1", order, order, _REPORT),
        *_observations(cda or build_cda(several, at, patient=patient), status, flags),
    ]
    return "".join(lines).encode()


def build_mdm(
    studies: Study | Sequence[Study], at: datetime, *, patient: Patient = PATIENT, message_id: str = ""
) -> bytes:
    """Write the same report as MDM^T02, HL7 2.6."""
    several = (studies,) if isinstance(studies, Study) else tuple(studies)
    patient = _as_in_images(patient, several)
    number = message_id or uuid4().hex[:20]
    moment = at.strftime("%Y%m%d%H%M%S")
    lines = [
        _msh(("MDM", "T02", "MDM_T02"), "2.6", number, at),
        build_segment("EVN", "", moment),
        _pid(patient),
        build_segment("PV1", "1", "O"),
        build_segment("ORC", "NW"),
        build_segment("OBR", "1", "", "", _REPORT),
        build_segment("TXA", "1", "18748-4", "TEXT", moment, *[""] * 7, number, *[""] * 4, "AU"),
        *_observations(build_cda(several, at, patient=patient), "F", _NO_FLAGS),
    ]
    return "".join(lines).encode()


def cda_of(oru: bytes) -> bytes:
    """The CDA in a message `build_oru` or `build_mdm` wrote."""
    return base64.b64decode(oru.split(b"^Base64^", 1)[1].split(b"|", 1)[0].split(b"\r", 1)[0])


def send_report(host: str, port: int, message: bytes, timeout_s: float = 60.0) -> str:
    """Send one message by MLLP and return its acknowledgement. Raises Unavailable after `timeout_s` in all."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(b"\x0b" + message + b"\x1c\x0d")
            received = b""
            while not received.endswith(b"\x1c\x0d"):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(65536)
                if not chunk or len(received) > 2**20:
                    raise Unavailable("MLLP", "the connection ended before the acknowledgement")
                received += chunk
    except OSError as error:
        raise Unavailable("MLLP", f"no acknowledgement: {type(error).__name__}") from error
    return received[1:-2].decode("utf-8", "replace")


# --- HL7 v2 --------------------------------------------------------------------------------------------------------

_PROFESSIONALS: Final = ("ASIP-SANTE-PS", "1.2.250.1.71.4.2.1", "ISO")
_REPORT: Final = ("18748-4", "CR d'imagerie médicale", "LN")


def _msh(kind: tuple[str, ...], version: str, number: str, at: datetime) -> str:
    return build_segment(
        *("MSH", "RIS", "CENTRE-IMAGERIE", "DRIMBOX", "CENTRE-IMAGERIE", at.strftime("%Y%m%d%H%M%S"), "", kind, number),
        *("P", version, "", "", "", "", "FRA", "UNICODE UTF-8", "", "", ("2.1", "CISIS_CDA_HL7_V2")),
    )


def _pid(patient: Patient) -> str:
    ids: list[tuple[str | tuple[str, ...], ...]] = []
    if patient.ins:
        ids.append((patient.ins.value, "", "", (patient.ins.namespace, patient.ins.authority, "ISO"), "INS"))
    if patient.local_id:
        authority = (patient.local_id.namespace, patient.local_id.authority, "ISO")
        ids.append((patient.local_id.value, "", "", authority, "PI"))
    names = [(patient.family, patient.given, patient.birth_given_names, "", "", "", "L")]
    if patient.used_family or patient.used_given:
        names.append((patient.used_family, patient.used_given, "", "", "", "", "D"))
    places = [("", "", "", "", "", "", "BDL", "", patient.birth_place)]
    identity: list[Value] = ["", "", ids, "", names, "", patient.birth_date, patient.sex, "", "", places]
    return build_segment("PID", *identity, *[""] * 20, "VALI" if patient.qualified else "PROV")


def _observations(cda: bytes, status: str, flags: Mapping[str, bool]) -> list[str]:
    document = ("", "TEXT", "XML", "Base64", base64.b64encode(cda).decode())
    signer = ("801234560801", "BIDEAULT", "Jacques", "", "", "", "", "", _PROFESSIONALS, "D")
    authority = ("ASIP-SANTE-ST", "1.2.250.1.71.4.2.2", "ISO")
    structure = ("Centre de radiologie Ambroise", "", "", "", "", authority, "FINEG", "", "", STRUCTURE)
    lines = [
        build_segment("OBX", "1", "ED", _REPORT, "", document, *[""] * 5, status),
        build_segment("PRT", "", "UC", "", ("SB", "", "participation"), signer, "", "", structure),
    ]
    for number, (name, meaning, default) in enumerate(FLAGS, start=2):
        value = ("Y" if flags.get(name, default) else "N", "", "expandedYes-NoIndicator")
        lines.append(build_segment("OBX", str(number), "CWE", (name, meaning, "MetaDMPMSS"), "", value, *[""] * 5, "F"))
    return lines


def _as_in_images(patient: Patient, studies: Sequence[Study]) -> Patient:
    """The local identifier of the images is that of the RIS, as in any centre where both are wired together."""
    found = next((study.patient_id for study in studies if study.patient_id), "")
    return replace(patient, local_id=Identifier(found, LOCAL_ID_AUTHORITY, "AUT-AFFECTATION")) if found else patient
