"""XDM media of invented manifests, as another box would write them."""

import hashlib
import zipfile

from manifests import MANIFEST

from drimbox.kos.build import build_manifest
from drimbox.xds import codes
from drimbox.xds.ebxml import submit_objects
from drimbox.xds.entry import Author, DocumentEntry, SubmissionSet, ins_cx
from drimbox.xds.xdm import build_metadata

AUTHOR = Author("801^DURAND^CLAIRE^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS", "C^^^^^&1.2&ISO^IDNST^^^101")
INS = MANIFEST.patient.ins


def described(manifest, kos, *, submitted="20260301100000", patient=INS, **entry):
    """METADATA.XML of a manifest. entry: fields of its DocumentEntry to change."""
    fields = {
        "entry_uuid": "urn:uuid:00000000-0000-4000-8000-000000000001",
        "unique_id": manifest.uid,
        "mime_type": "application/dicom",
        "hash": hashlib.sha1(kos, usedforsecurity=False).hexdigest(),
        "size_bytes": len(kos),
        "created": "20260301095900",
        "submitted": submitted,
        "language": "fr-FR",
        "patient_id": ins_cx(patient),
        "source_patient_id": ins_cx(patient),
        "source_patient_info": (),
        "legal_authenticator": AUTHOR.person,
        "author": AUTHOR,
        "title": "KOS",
        "comments": "KOS",
        "class_code": codes.CLASS_IMAGING,
        "type_code": codes.TYPE_KOS,
        "format_code": codes.FORMAT_KOS,
        "facility_type": codes.NORMAL,
        "practice_setting": codes.NORMAL,
        "confidentiality": (codes.NORMAL, codes.CONFIDENTIALITY["MASQUE_PS"]),
        "events": (),
        "reference_ids": (),
    }
    submission_set = SubmissionSet(
        "urn:uuid:00000000-0000-4000-8000-000000000002", f"{manifest.uid}.1"[:64], "1.2.5", ins_cx(patient), submitted,
        AUTHOR, codes.CONTENT_TYPE_EXTERNAL, "t",
    )  # fmt: skip
    unique_id = entry.get("unique_id", manifest.uid)
    xml = submit_objects(DocumentEntry(**fields | entry), submission_set)
    return build_metadata(xml, {unique_id: "KOS_1_1.DCM"}, entry_uuid="")


def medium(path, *sets):
    """A ZIP of sets, each a dict of files."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, files in enumerate(sets, start=1):
            for name, content in files.items():
                archive.writestr(f"IHE_XDM/SS{number:06}/{name}", content)
    return path


def a_set(manifest=MANIFEST, extra=None, **options):
    kos = build_manifest(manifest)
    return {"METADATA.XML": described(manifest, kos, **options), "KOS_1_1.DCM": kos, **(extra or {})}
