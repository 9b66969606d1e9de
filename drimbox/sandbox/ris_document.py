"""The CDA R2 level 1 that the played RIS puts in its messages: header of the CI-SIS model IMG-CR-IMG, body a small PDF.

Patient, radiologists and structures are invented; the INS is one of the test authority (1.2.250.1.213.1.4.10).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr

from drimbox.model import Code, Identifier, Patient

INS: Final = "279035121518989"
INS_AUTHORITY: Final = "1.2.250.1.213.1.4.10"
STRUCTURE: Final = "1750803447"  # of the radiologist who signs
LOCAL_ID_AUTHORITY: Final = "1.2.250.1.213.4.5.2.4"
_ACCESSION_AUTHORITY: Final = "1.2.250.1.213.4.5.2.5"
_ORDER_AUTHORITY: Final = "1.2.250.1.213.4.5.2.6"

PATIENT: Final = Patient(
    ins=Identifier(INS, INS_AUTHORITY, "ASIP-SANTE-INS-NIR"),
    local_id=Identifier("IPP101", LOCAL_ID_AUTHORITY, "AUT-AFFECTATION"),
    family="PAT-TROIS",
    given="DOMINIQUE",
    birth_given_names="DOMINIQUE MARIE-LOUISE",
    used_family="PAT-TROIS",
    used_given="DOMINIQUE",
    birth_date="19790328",
    sex="F",
    birth_place="63220",
    qualified=True,
)

_ACTS: Final = {  # CCAM, LOINC and SNOMED CT by modality: enough for the metadata to look like a real report's
    "CT": ("ZBQK001", "Scanographie du thorax", "24627-2", "67734004", "Thorax"),
    "MR": ("ACQN001", "IRM du crâne", "24590-2", "69536005", "Tête"),
    "US": ("ZCQM008", "Échographie de l'abdomen", "24558-9", "63337009", "Abdomen et pelvis"),
}
_OTHER_ACT: Final = ("ZBQK002", "Radiographie du thorax", "36643-5", "67734004", "Thorax")
_MODALITY_NAMES: Final = {"CT": "Tomodensitométrie", "MR": "Imagerie par résonance magnétique", "US": "Échographie"}


@dataclass(frozen=True, slots=True)
class Study:
    """What the RIS knows of the exam. patient_id, accession_number: as in the images, empty when they have none."""

    study_uid: str
    patient_id: str = ""
    accession_number: str = ""
    modality: str = "CT"


def build_cda(studies: Sequence[Study], at: datetime, *, patient: Patient = PATIENT, document_uid: str = "") -> bytes:
    """Write the CDA: header of the CI-SIS model IMG-CR-IMG, body a small PDF. document_uid: new when empty."""
    uid = document_uid or f"2.25.{uuid4().int}"
    moment = at.strftime("%Y%m%d%H%M%S%z")
    acts = [_ACTS.get(study.modality, _OTHER_ACT) for study in studies]
    title = "CR d'imagerie médicale - " + ", ".join(dict.fromkeys(act[1] for act in acts))
    signer = _professional("801234560801", "BIDEAULT", "Jacques", STRUCTURE, "Centre de radiologie Ambroise")
    author = _professional("801234567866", "DIAZ", "Thierry", "1120456789", "Clinique des Charmes")
    orders = "".join(_order(number, study) for number, study in enumerate(studies, start=101))
    events = "".join(_event(study, act, moment, signer) for study, act in zip(studies, acts, strict=True))
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:ps3-20="urn:dicom-org:ps3-20">
  <realmCode code="FR"/>
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <templateId root="2.16.840.1.113883.2.8.2.1"/>
  <templateId root="1.2.250.1.213.1.1.1.1"/>
  <templateId root="1.3.6.1.4.1.19376.1.2.20"/>
  <id root={quoteattr(uid)}/>
  <code code="18748-4" displayName="CR d'imagerie médicale" codeSystem="2.16.840.1.113883.6.1"/>
  <title>{escape(title)}</title>
  <effectiveTime value="{moment}"/>
  <confidentialityCode code="N" displayName="Normal" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="fr-FR"/>
  <setId root={quoteattr(uid)}/>
  <versionNumber value="1"/>
  {_record_target(patient)}
  <author><time value="{moment}"/><assignedAuthor>{author}</assignedAuthor></author>
  <custodian><assignedCustodian><representedCustodianOrganization>
    <id root="1.2.250.1.71.4.2.2" extension="{STRUCTURE}"/><name>Centre de radiologie Ambroise</name>
  </representedCustodianOrganization></assignedCustodian></custodian>
  <legalAuthenticator><time value="{moment}"/><signatureCode code="S"/>
    <assignedEntity>{signer}</assignedEntity></legalAuthenticator>
  {orders}{events}
  <componentOf><encompassingEncounter><effectiveTime><low value="{moment}"/></effectiveTime>
    <location><healthCareFacility>
      <code code="SA08" displayName="Cabinet de groupe" codeSystem="1.2.250.1.71.4.2.4"/>
    </healthCareFacility></location></encompassingEncounter></componentOf>
  <component><nonXMLBody>
    <text mediaType="application/pdf" representation="B64">{base64.b64encode(_pdf()).decode()}</text>
  </nonXMLBody></component>
</ClinicalDocument>
"""
    return text.encode()


def _record_target(patient: Patient) -> str:
    ids = "".join(
        f"<id extension={quoteattr(identifier.value)} root={quoteattr(identifier.authority)}/>"
        for identifier in (patient.ins, patient.local_id)
        if identifier
    )
    return f"""<recordTarget><patientRole>{ids}<patient><name>
    <family qualifier="BR">{escape(patient.family)}</family><given>{escape(patient.birth_given_names)}</given>
    <given qualifier="BR">{escape(patient.given)}</given><family qualifier="CL">{escape(patient.used_family)}</family>
    <given qualifier="CL">{escape(patient.used_given)}</given></name>
    <administrativeGenderCode code={quoteattr(patient.sex)} codeSystem="2.16.840.1.113883.5.1"/>
    <birthTime value={quoteattr(patient.birth_date)}/>
    <birthplace><place><addr><county>{escape(patient.birth_place)}</county></addr></place></birthplace>
  </patient></patientRole></recordTarget>"""


def _professional(number: str, family: str, given: str, structure: str, name: str) -> str:
    return f"""<id root="1.2.250.1.71.4.2.1" extension="{number}"/>
    <code code="G15_10/SM44" displayName="Médecin - Radio-diagnostic (SM)" codeSystem="1.2.250.1.213.1.1.4.5"/>
    <assignedPerson><name><given>{given}</given><family>{family}</family></name></assignedPerson>
    <representedOrganization><id root="1.2.250.1.71.4.2.2" extension="{structure}"/><name>{name}</name>
      <standardIndustryClassCode code="AMBULATOIRE" displayName="Ambulatoire" codeSystem="1.2.250.1.213.1.1.4.9"/>
    </representedOrganization>"""


def _order(number: int, study: Study) -> str:
    accession = ""
    if study.accession_number:
        value = quoteattr(study.accession_number)
        accession = f'<ps3-20:accessionNumber root="{_ACCESSION_AUTHORITY}" extension={value}/>'
    return f"""<inFulfillmentOf><order><id root="{_ORDER_AUTHORITY}" extension="OPN{number}"/>{accession}</order>
  </inFulfillmentOf>"""


def _event(study: Study, act: tuple[str, str, str, str, str], moment: str, performer: str) -> str:
    ccam, meaning, loinc, region, place = act
    modality = Code(study.modality, "1.2.840.10008.2.16.4", _MODALITY_NAMES.get(study.modality, study.modality))
    return f"""<documentationOf><serviceEvent classCode="ACT"><id root={quoteattr(study.study_uid)}/>
    <code code="{loinc}" displayName={quoteattr(meaning)} codeSystem="2.16.840.1.113883.6.1">
      <translation code="{ccam}" displayName={quoteattr(meaning)} codeSystem="1.2.250.1.213.2.5"/>
      <translation code={quoteattr(modality.value)} displayName={quoteattr(modality.meaning)}
        codeSystem="{modality.scheme}"><qualifier>
        <name code="121139" codeSystem="1.2.840.10008.2.16.4"/></qualifier></translation>
      <translation code="{region}" displayName="{place}" codeSystem="2.16.840.1.113883.6.96"><qualifier>
        <name code="39111-0" codeSystem="2.16.840.1.113883.6.1"/></qualifier></translation>
    </code>
    <effectiveTime><low value="{moment}"/><high value="{moment}"/></effectiveTime>
    <performer typeCode="PRF"><assignedEntity>{performer}</assignedEntity></performer>
  </serviceEvent></documentationOf>"""


def _pdf() -> bytes:
    """One page that says what it is (ISO 32000-1 §7.5), with a true cross-reference table."""
    page = b"BT /F1 18 Tf 60 760 Td (Compte rendu du bac a sable DRIMbox) Tj ET"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(page), page),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    pdf, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(pdf)
    pdf += b"xref\n0 6\n0000000000 65535 f \n" + table
    return pdf + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start
