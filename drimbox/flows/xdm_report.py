"""A report as far as a manifest and its metadata tell of it (pure): enough to replace and to withdraw it later.

What the box that made the submission knew of the report is gone with it; whose identity spoke is in the metadata.
"""

from dataclasses import replace
from typing import Final

from drimbox.kos.manifest import Manifest
from drimbox.model import Code, Exam, Identifier, Patient, Professional, Report, Structure
from drimbox.xds import codes
from drimbox.xds.entry import read_cx
from drimbox.xds.xdm import XdmDocument

_NOBODY: Final = Professional(Identifier("", codes.PROFESSIONALS), "", "")


def report_of(manifest: Manifest, document: XdmDocument | None, *, set_uid: str = "") -> Report:
    """The report a manifest was made from. document: its entry; without one nobody is known to have signed.

    Then a machine's news cannot be told to the DMP, in whose name would it be? A new version of the report can.
    """
    legal_structure = author_structure = _structure(manifest, document)
    author = signer = _NOBODY
    if document is not None:
        signer = document.legal_authenticator or document.author or _NOBODY
        author = document.author or signer
        author_structure = document.author_structure or legal_structure
    return Report(
        message_id=f"xdm:{set_uid or manifest.uid}",
        message=b"",
        cda=b"",
        document_id=Identifier("", set_uid or manifest.uid),
        status="F",
        patient=_patient(manifest, document),
        author=author,
        author_structure=author_structure,
        legal_authenticator=signer,
        legal_structure=legal_structure,
        exams=(_exam(manifest, document),),
        title=manifest.act,
        confidentiality=_confidentiality(document),
    )


def _structure(manifest: Manifest, document: XdmDocument | None) -> Structure:
    """Whose certificates speak. The metadata tell the author's structure; the manifest that of who answers for it."""
    told = document.author_structure if document else None
    if told is not None and not manifest.structure_id:
        return told
    identifier = Identifier(manifest.structure_id, codes.STRUCTURES)
    facility, practice = (document.facility, document.practice) if document else (None, None)
    return Structure(identifier, manifest.institution, facility, practice)


def _patient(manifest: Manifest, document: XdmDocument | None) -> Patient:
    """Published under this identity, so qualified by who did it (P16)."""
    local_id = None
    if document is not None and document.source_patient_id:
        local_id = read_cx(document.source_patient_id)
        if manifest.patient.ins is not None and local_id.value == manifest.patient.ins.value:
            local_id = None  # some publishers repeat the INS here
    return replace(manifest.patient, local_id=local_id, qualified=True)


def _exam(manifest: Manifest, document: XdmDocument | None) -> Exam:
    listed = document.listed if document else None
    return Exam(
        study_uid=manifest.study_uid,
        accession=manifest.accession,
        order=manifest.order,
        acts=listed.acts if listed else (),
        modalities=tuple(Code(one, codes.MODALITY_SCHEME, one) for one in listed.modalities) if listed else (),
        regions=listed.regions if listed else manifest.regions,
        started=listed.service_start if listed else "",
        stopped=document.service_stop if document else "",
    )


def _confidentiality(document: XdmDocument | None) -> tuple[str, ...]:
    """The codes beside `N` that we know how to write."""
    told = document.listed.confidentiality if document else ()
    return tuple(code.value for code in told if code.value in codes.CONFIDENTIALITY)
