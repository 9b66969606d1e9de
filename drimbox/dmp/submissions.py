"""From a report and a manifest to what will be sent, ids and bytes (pure): drim-m.md B.6, B.7, B.9.

Each function makes a Submission that can be frozen: whatever is random or a moment is an argument, and the same
arguments give the same bytes.
"""

from dataclasses import dataclass
from datetime import datetime

from drimbox.dmp.signature import build_signature
from drimbox.dmp.signer import Algorithm, Signer
from drimbox.dmp.structures import report_as
from drimbox.model import Exam, Report, Submission
from drimbox.settings import DmpStructure
from drimbox.xds.answers import Listed
from drimbox.xds.codes import NORMAL
from drimbox.xds.ebxml import submit_objects, update_availability, update_confidentiality
from drimbox.xds.entry import (
    SubmissionSet,
    confidentiality_codes,
    describe_manifest,
    describe_signature,
    describe_submission_set,
)
from drimbox.xds.xml import read_xml

MAX_METADATA = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Ids:
    """The identifiers of one submission, minted once. *_uid: OIDs. *_uuid: `urn:uuid:` and a UUID."""

    set_uid: str
    set_uuid: str
    entry_uuid: str
    signature_uid: str
    signature_uuid: str


@dataclass(frozen=True, slots=True)
class Office:
    """In whose name a submission is made: the structure, its signer, and the OID of this installation."""

    structure: DmpStructure
    signer: Signer
    source_id: str
    algorithm: Algorithm


def build_publication(
    report: Report,
    exam: Exam,
    office: Office,
    ids: Ids,
    *,
    kos: bytes,
    unique_id: str,
    created: datetime,
    submitted: datetime,
    modalities: tuple[str, ...] = (),
    replaces: str = "",
) -> Submission:
    """A manifest, its entry, and the signature of both (TD2.1).

    unique_id, created: SOP Instance UID and Instance Creation of the KOS. modalities: as the images say them.
    replaces: entryUUID, as the registry knows it, of the manifest it takes the place of. Raises Malformed when the
    report lacks what XDS requires.
    """
    entry, submission_set = describe_manifest(
        report_as(report, office.structure),
        exam,
        kos=kos,
        unique_id=unique_id,
        entry_uuid=ids.entry_uuid,
        set_uid=ids.set_uid,
        set_entry_uuid=ids.set_uuid,
        created=created,
        submitted=submitted,
        source_id=office.source_id,
        modalities=modalities,
    )
    signature = build_signature(
        [(unique_id, kos)],
        set_uid=ids.set_uid,
        signature_uid=ids.signature_uid,
        signer=office.signer,
        signed_at=submitted,
        algorithm=office.algorithm,
    )
    signature_entry = describe_signature(
        entry, signature=signature, unique_id=ids.signature_uid, entry_uuid=ids.signature_uuid, created=submitted
    )
    return Submission(
        study_uid=exam.study_uid,
        kind="replace" if replaces else "publish",
        unique_id=unique_id,
        set_uid=ids.set_uid,
        entry_uuid=ids.entry_uuid,
        structure=office.structure.id,
        manifest=kos,
        metadata=submit_objects(entry, submission_set, replaces, signature_entry),
        signature=signature,
    )


def build_withdrawal(
    report: Report, office: Office, ids: Ids, published: Submission, registered: Listed, *, submitted: datetime
) -> Submission:
    """The end of a published manifest (TD3.3c). registered: it, as the registry lists it."""
    submission_set = _change_set(report, office, ids, submitted)
    return Submission(
        study_uid=published.study_uid,
        kind="withdraw",
        unique_id=published.unique_id,
        set_uid=ids.set_uid,
        entry_uuid=registered.entry_uuid,
        structure=office.structure.id,
        manifest=published.manifest,
        metadata=update_availability(submission_set, registered.entry_uuid),
    )


def build_masking(
    report: Report, office: Office, ids: Ids, published: Submission, registered: Listed, *, submitted: datetime
) -> Submission:
    """The same manifest, to be seen by whom the report now says (TD3.3a, TD3.3b). registered: as the registry lists it.

    Raises Malformed when the report names a confidentiality the DMP does not know.
    """
    codes = (NORMAL, *confidentiality_codes(report.confidentiality))
    metadata = update_confidentiality(
        _change_set(report, office, ids, submitted),
        read_xml(published.metadata, "metadata", MAX_METADATA),
        registered,
        entry_uuid=ids.entry_uuid,
        confidentiality=codes,
    )
    return Submission(
        study_uid=published.study_uid,
        kind="update",
        unique_id=published.unique_id,
        set_uid=ids.set_uid,
        entry_uuid=ids.entry_uuid,
        structure=office.structure.id,
        manifest=published.manifest,
        metadata=metadata,
    )


def _change_set(report: Report, office: Office, ids: Ids, submitted: datetime) -> SubmissionSet:
    return describe_submission_set(
        report_as(report, office.structure),
        set_uid=ids.set_uid,
        set_entry_uuid=ids.set_uuid,
        submitted=submitted,
        source_id=office.source_id,
    )
