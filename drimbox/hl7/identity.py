"""Who an HL7 v2 message is about: PID, and MRG of a merge (drim-m.md B.1).

Identifiers and names are chosen by their type and authority, never by their rank.
"""

from dataclasses import replace

from drimbox.errors import Conflict, Malformed
from drimbox.hl7.message import Repetition, Segment
from drimbox.kos.codes import INS_NAMESPACES
from drimbox.model import Identifier, Patient

NOBODY = Patient(None, None, "", "")


def sex_of(code: str) -> str:
    """M or F, U for anything else told, empty for nothing told (HL7 tables 0001 and AdministrativeGender)."""
    return code if code in ("M", "F", "") else "U"


def read_patient(pid: Segment | None, told: Patient = NOBODY) -> Patient:
    """The identity of PID, completed by that of the CDA (`told`). Raises Conflict when their INS differ (P16)."""
    if pid is None:
        patient = told
    else:
        ins, local_id = read_ins(pid), read_local_id(pid)
        if ins and told.ins and (ins.value, ins.authority) != (told.ins.value, told.ins.authority):
            raise Conflict("patient", "PID-3 and the CDA carry two different INS: the report is refused")
        patient = replace(
            _named(pid, told),
            ins=ins or told.ins,
            local_id=_with_authority(local_id, told.local_id),
            birth_date=pid.text(7)[:8] or told.birth_date,
            sex=sex_of(pid.text(8)) or told.sex,
            birth_place=_birth_place(pid) or told.birth_place,
            qualified=ins is not None and any(status.text() == "VALI" for status in pid.all(32)),
        )
    if not patient.family:
        raise Malformed("required field", "neither PID-5 nor the CDA gives the birth name")
    return patient


def read_ins(pid: Segment) -> Identifier | None:
    """The INS in force: an identifier with an expiration date (CX-8) is one the patient had before."""
    found = {
        Identifier(cx.text(1), cx.text(4, 2), INS_NAMESPACES[cx.text(4, 2)])
        for cx in pid.all(3)
        if cx.text(4, 2) in INS_NAMESPACES and cx.text(1) and not cx.text(8)
    }
    if len(found) > 1:
        raise Conflict("patient", "PID-3 carries two INS in force: the report is refused")
    return next(iter(found), None)


def read_local_id(pid: Segment) -> Identifier | None:
    """The identifier of the establishment (IPP)."""
    for cx in pid.all(3):
        if cx.text(5) == "PI" and cx.text(1) and cx.text(4, 2) not in INS_NAMESPACES:
            return Identifier(cx.text(1), cx.text(4, 2), cx.text(4, 1))
    return None


def _with_authority(local_id: Identifier | None, told: Identifier | None) -> Identifier | None:
    """Complete an identifier of PID that has no authority by the same one in the CDA, which always has one."""
    if local_id is None:
        return told
    if told is not None and not local_id.authority and told.value == local_id.value:
        return replace(local_id, authority=told.authority)
    return local_id


def _named(pid: Segment, told: Patient) -> Patient:
    """PID-5: repetition L is the birth name, D the used one (HL7 table 0200). A sole name without type is L."""
    names = pid.all(5)
    birth = _name_of_type(names, "L") or (names[0] if len(names) == 1 and not names[0].text(7) else None)
    used = _name_of_type(names, "D")
    return replace(
        told,
        family=(birth.text(1) if birth else "") or told.family,
        given=(birth.text(2) if birth else "") or told.given,
        birth_given_names=(birth.text(3) if birth else "") or told.birth_given_names,
        used_family=(used.text(1) if used else "") or told.used_family,
        used_given=(used.text(2) if used else "") or told.used_given,
    )


def _name_of_type(names: tuple[Repetition, ...], kind: str) -> Repetition | None:
    return next((name for name in names if name.text(7) == kind), None)


def _birth_place(pid: Segment) -> str:
    return next((address.text(9) for address in pid.all(11) if address.text(7) == "BDL"), "")
