"""The exams of `tests/data/exams`: from a row of facts to the messages a RIS sends and the instances of a PACS.

HL7 and CDA have the shape of the messages in service: the same segments, fields and elements, empty ones included.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Final
from xml.sax.saxutils import escape

import pydicom
from making import ct
from pydicom.dataset import FileDataset

FOLDER: Final = Path(__file__).parent / "data" / "exams"
ROOT: Final = "1.2.250.1.999"
INS_AUTHORITY: Final = "1.2.250.1.213.1.4.10"
INS: Final = "268019911122233"
_OTHER_INS: Final = "155064711122248"
_ACCESSIONS, _ORDERS, _PATIENTS = f"{ROOT}.5", f"{ROOT}.6", f"{ROOT}.7"
# Two sets of traits under one INS: a report decides which its manifest has.
_PEOPLE: Final = MappingProxyType(
    {"ZOE": ("INVENTEE", "ZOE", "F", "19680101"), "LUC": ("INVENTE", "Luc", "M", "20120125")}
)
_FLAGS: Final = ("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX", "CONNEXION_SECRETE", "MODIF_CONF_CODE")
_CLASSES: Final = MappingProxyType(
    {
        "CT": "1.2.840.10008.5.1.4.1.1.2",
        "MR": "1.2.840.10008.5.1.4.1.1.4",
        "US": "1.2.840.10008.5.1.4.1.1.3.1",
        "XA": "1.2.840.10008.5.1.4.1.1.12.1",
        "NM": "1.2.840.10008.5.1.4.1.1.20",
        "DX": "1.2.840.10008.5.1.4.1.1.1.1",
        "SR": "1.2.840.10008.5.1.4.1.1.88.11",
        "ECG": "1.2.840.10008.5.1.4.1.1.9.1.1",
        "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    }
)
_IN_IMAGES: Final = MappingProxyType(
    {
        "images-of-IPP999": ("IPP999", None),
        "images-of-the-INS": (INS, "ASIP-SANTE-INS-NIR"),
        "images-of-another-INS": (_OTHER_INS, "ASIP-SANTE-INS-NIR"),
    }
)
_PIXELS: Final = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelData",
)  # fmt: skip


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table of `tests/data/exams`, by its header: columns by blanks, the last one to the end of line."""
    lines = [line for line in (FOLDER / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]
    header = lines[0].split()
    return [dict(zip(header, line.split(None, len(header) - 1), strict=True)) for line in lines[1:]]


@dataclass(frozen=True)
class Exam:
    """A row of exams.txt. Its columns are explained there."""

    facts: dict[str, str]

    @property
    def name(self) -> str:
        return self.facts["exam"]

    @property
    def is_later(self) -> bool:
        return "later" in self.twists

    @property
    def twists(self) -> list[str]:
        return self.facts["twist"].split(",")

    @property
    def acts(self) -> list[list[str]]:
        """The study numbers of each act."""
        return [act.split("+") for act in self.facts["acts"].split(",")] if self.facts["acts"] != "-" else []

    @property
    def studies(self) -> list[str]:
        return list(dict.fromkeys(number for act in self.acts for number in act))

    # --- what the RIS sends ------------------------------------------------------------------------------------------

    def message(self) -> bytes:
        """Its report, as ORU^R01 or MDM^T02."""
        template = Template((FOLDER / f"{self.facts['by'].lower()}.hl7").read_text("utf-8"))
        flags = self.facts["flags"].split(",")
        kind = "CE" if self.facts["by"] == "ORU" else "CWE"
        misspelt = "INVISIBLE_REPRENSANTS_LEGAUX"  # of old messages, still in service
        names = [misspelt if name == "INVISIBLE_REP_LEGAUX" and misspelt in flags else name for name in _FLAGS]
        lines = [_flag(number, name, name in flags, kind) for number, name in enumerate(names, 2)]
        lines.append(_flag(7, "DESTDMP", "NOT_FOR_DMP" not in flags, kind))
        ins = "" if "no-ins" in self.twists else self._ins(in_cda=False)
        ids = [f"{ins}^^^ASIP-SANTE-INS-NIR&{INS_AUTHORITY}&ISO^INS^^"] if ins else []
        message = template.substitute(
            self._person(),
            ids="~".join([*ids, f"IPP101^^^AUT-AFFECTATION&{_PATIENTS}&ISO^PI"]),
            number=f"{self.name}-{self.facts['report']}",
            quality="PROV" if "not-qualified" in self.twists else "VALI",
            control="CA" if self.facts["status"] == "D" else "NW",
            status=self.facts["status"],
            cda=base64.b64encode(self.cda()).decode(),
            flags="\n".join(lines),
        )
        return _sent(message, in_lines="lines" in self.twists)

    def notice(self, control: str) -> bytes:
        """An OMI^O23 about its study. control: ORC-1."""
        template = Template((FOLDER / "omi.hl7").read_text("utf-8"))
        ids = f"{INS}^^^ASIP-SANTE-INS-NIR&{INS_AUTHORITY}&ISO^INS^^~IPP101^^^AUT-AFFECTATION&{_PATIENTS}&ISO^PI"
        message = template.substitute(
            self._person(),
            ids=ids,
            number=f"{self.name}-{control}",
            control=control,
            accession=self.facts["orders"],
            study=study_uid(self.studies[0]),
        )
        return _sent(message)

    def cda(self) -> bytes:
        """Its report alone."""
        ins = "" if "no-ins" in self.twists else f'<id extension="{self._ins(in_cda=True)}" root="{INS_AUTHORITY}"/>'
        written = Template((FOLDER / "report.xml").read_text("utf-8")).substitute(
            {key: escape(value) for key, value in self._person().items()},
            ids=f'{ins}\n      <id extension="IPP101" root="{_PATIENTS}" />',
            document=f"{ROOT}.8.{self.facts['report']}",
            version=self.facts["version"],
            loinc=self.facts["loinc"],
            structure=self.facts["structure"],
            doctor=_doctor(self.facts["structure"]),
            orders="\n".join(map(_order, self.facts["orders"].split(","))),
            events="\n".join(map(self._event, self.acts)),
        )
        return written.encode()

    def _ins(self, *, in_cda: bool) -> str:
        other = "other-ins" in self.twists or ("other-ins-in-hl7" in self.twists and not in_cda)
        return _OTHER_INS if other else INS

    def _person(self) -> dict[str, str]:
        return dict(zip(("family", "given", "sex", "born"), _PEOPLE[self.facts["patient"]], strict=True))

    def _event(self, act: list[str]) -> str:
        ids = "".join(f'<id root="{study_uid(number)}"/>\n      ' for number in act)
        return f"""  <documentationOf>
    <serviceEvent classCode="ACT">
      {ids}<code code="{self.facts["loinc"]}" displayName="Examen" codeSystem="2.16.840.1.113883.6.1">
        <translation code="{self.facts["act"]}" displayName="Acte" codeSystem="1.2.250.1.213.2.5"/>
        <translation code="{self.facts["modality"]}" displayName="Modalité" codeSystem="1.2.840.10008.2.16.4">
          <qualifier><name code="121139" codeSystem="1.2.840.10008.2.16.4" codeSystemName="DCM"/></qualifier>
        </translation>
        <translation code="{self.facts["region"]}" displayName="Région" codeSystem="2.16.840.1.113883.6.96">
          <qualifier><name code="39111-0" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/></qualifier>
        </translation>
      </code>
      <effectiveTime><low value="20260108102500+0100"/><high value="20260108111700+0100" /></effectiveTime>
      <performer typeCode="PRF"><assignedEntity>{_doctor(self.facts["structure"])}</assignedEntity></performer>
    </serviceEvent>
  </documentationOf>"""

    # --- what the PACS has -------------------------------------------------------------------------------------------

    def images(self) -> Iterator[FileDataset]:
        """Its instances, in order."""
        if self.facts["images"] == "-":
            return
        accessions = self.facts["orders"].split(",")
        patient_id, issuer = _IN_IMAGES.get(self.facts["twist"], ("IPP101", None))
        for place, (number, series) in enumerate(zip(self.studies, self.facts["images"].split(";"), strict=True)):
            carried = self.facts["twist"].removeprefix("images-of-")
            accession = carried if carried.startswith("ACN") else accessions[min(place, len(accessions) - 1)]
            before: list[FileDataset] = []
            for rank, told in enumerate(series.split(","), 1):
                kind, _, count = told.partition(":")
                for instance in range(1, int(count) + 1):
                    made = _instance(kind, number, rank, instance, before)
                    made.AccessionNumber, made.PatientID, made.IssuerOfPatientID = accession, patient_id, issuer
                    before.append(made)
                    yield made


def exams() -> list[Exam]:
    """All rows of exams.txt."""
    return [Exam(facts) for facts in table("exams.txt")]


def study_uid(number: str) -> str:
    """The UID of a study of the tables."""
    return f"{ROOT}.2.{number}"


def _sent(message: str, *, in_lines: bool = False) -> bytes:
    """As it goes over the wire; some senders end segments as lines of a file."""
    return message.encode() if in_lines else message.strip().replace("\n", "\r").encode()


def _flag(number: int, name: str, value: bool, kind: str) -> str:
    return f"OBX|{number}|{kind}|{name}^Texte^MetaDMPMSS||{'Y' if value else 'N'}^^expandedYes-NoIndicator||||||F|"


def _order(accession: str) -> str:
    number = accession.replace("ACN", "OPN")
    return f"""  <inFulfillmentOf>
    <order>
      <!-- Order Placer Number -->
      <id root="{_ORDERS}" extension="{number}"/>
      <ps3-20:accessionNumber root="{_ACCESSIONS}" extension="{accession}"/>
    </order>
  </inFulfillmentOf>"""


def _doctor(structure: str) -> str:
    return f"""<id root="1.2.250.1.71.4.2.1" extension="810000000001"/>
      <code code="G15_10/SM44" displayName="Médecin - Radio-diagnostic (SM)" codeSystem="1.2.250.1.213.1.1.4.5"/>
      <telecom value="tel:0100000002" use="WP"/>
      <assignedPerson><name><prefix>MME</prefix><given>Ada</given><family>SIGNE</family></name></assignedPerson>
      <representedOrganization>
        <id root="1.2.250.1.71.4.2.2" extension="{structure}"/>
        <name>Centre Beta</name>
        <standardIndustryClassCode code="AMBULATOIRE" displayName="Ambulatoire" codeSystem="1.2.250.1.213.1.1.4.9"/>
      </representedOrganization>"""


def _instance(kind: str, study: str, series: int, number: int, before: list[FileDataset]) -> FileDataset:
    """One instance. before: those of the study made so far, of which a key object selection names two."""
    changes = {
        "StudyInstanceUID": study_uid(study),
        "SeriesInstanceUID": f"{ROOT}.3.{study}.{series}",
        "SOPInstanceUID": f"{ROOT}.4.{study}.{series}.{number}",
        "Modality": kind,
        "PatientName": "INVENTEE^ZOE",
    }
    made = ct(series, number, **changes)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = _CLASSES[kind]
    if kind == "US":
        made.NumberOfFrames, made.PixelData = 4, made.PixelData * 4
    if kind in ("SR", "ECG", "KO"):
        for keyword in _PIXELS:
            delattr(made, keyword)
    if kind == "KO":
        title = pydicom.Dataset()
        title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113000", "DCM", "Of Interest"
        made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", [title]
        made.ContentSequence = [_pointer(image) for image in before[:2]]
    return made


def _pointer(image: FileDataset) -> pydicom.Dataset:
    item, referenced = pydicom.Dataset(), pydicom.Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.RelationshipType, item.ValueType, item.ReferencedSOPSequence = "CONTAINS", "IMAGE", [referenced]
    return item
