"""Names, schemes and codes of the XDS metadata: those of IHE (ITI TF-3 §4.2) and those of the French value sets.

The scheme of an eventCode differs from one publisher to the next: the CDA carries SNOMED CT and DICOM codes, the DMP
metadata the OID of the French value set. We write the value set and read them all (drim-m.md B.6).
"""

from drimbox.model import Code

# --- XML namespaces -----------------------------------------------------------------------------------------------

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
XOP = "http://www.w3.org/2004/08/xop/include"
XML = "http://www.w3.org/XML/1998/namespace"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
RS = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
QUERY = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
XDSB = "urn:ihe:iti:xds-b:2007"
HL7 = "urn:hl7-org:v3"
HABILITATIONS = "urn:si-dmp-habilitations"

# --- Transactions (ITI TF-2 §3.18, §3.41, §3.43, §3.57; TD0.2 and TD0.3 of the DMP) ---------------------------------

PROVIDE_AND_REGISTER = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
REGISTRY_STORED_QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
RETRIEVE_DOCUMENT_SET = "urn:ihe:iti:2007:RetrieveDocumentSet"
UPDATE_DOCUMENT_SET = "urn:ihe:iti:2010:UpdateDocumentSet"
FIND_DOSSIER = "urn:hl7-org:v3:PRPA_IN201307UV02"
SET_AUTHORIZATION = "urn:si-dmp-habilitations:HabilitationsEndPoint:setAuthorization"

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_BY_REFERENCE_ID = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"

APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
ARCHIVED = "urn:asip:ci-sis:2010:StatusType:Archived"
DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"
SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
REPLACES = "urn:ihe:iti:2007:AssociationType:RPLC"
SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
UPDATES_AVAILABILITY = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"

# --- ebRIM schemes (ITI TF-3 §4.2.5) --------------------------------------------------------------------------------

DOCUMENT_ENTRY = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
SUBMISSION_SET = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"

SET_AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
SET_CONTENT_TYPE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
SET_PATIENT_ID = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SET_SOURCE_ID = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
SET_UNIQUE_ID = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"

ENTRY_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
ENTRY_CLASS = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
ENTRY_CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
ENTRY_EVENT = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
ENTRY_FORMAT = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
ENTRY_FACILITY = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
ENTRY_PRACTICE = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
ENTRY_TYPE = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
ENTRY_PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
ENTRY_UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

REFERENCE_ID_LIST = "urn:ihe:iti:xds:2013:referenceIdList"
REFERENCE_ACCESSION = "urn:ihe:iti:xds:2013:accession"
REFERENCE_ORDER = "urn:ihe:iti:xds:2013:order"
REFERENCE_STUDY = "urn:ihe:iti:xds:2016:studyInstanceUID"

# --- Codes of the entry of a KOS (drim-m.md B.6) --------------------------------------------------------------------

CLASS_IMAGING = Code("31", "1.2.250.1.213.1.1.4.1", "Imagerie médicale")
TYPE_KOS = Code("IMG-KOS", "1.2.250.1.213.1.1.4.12", "Reference d'objets d'un examen d'imagerie")
FORMAT_KOS = Code(
    "1.2.840.10008.5.1.4.1.1.88.59",
    "1.2.840.10008.2.6.1",
    "Document de Références d'objets d'imagerie selon profil IHE RAD XDS-I",
)
NORMAL = Code("N", "2.16.840.1.113883.5.25", "Normal")

_VISIBILITY = "1.2.250.1.213.1.1.4.13"
CONFIDENTIALITY = {
    "MASQUE_PS": Code("MASQUE_PS", _VISIBILITY, "Masqué aux professionnels de santé"),
    "INVISIBLE_PATIENT": Code("INVISIBLE_PATIENT", _VISIBILITY, "Non visible par le patient"),
    "INVISIBLE_REPRESENTANTS_LEGAUX": Code(
        "INVISIBLE_REPRESENTANTS_LEGAUX", _VISIBILITY, "Non visible par les représentants légaux du patient"
    ),
}

# --- Codes of the entry of a signature document (drim-m.md B.6, IHE ITI TF-3 §5.5) ----------------------------------

CLASS_SIGNATURE = Code("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN", "Digital Signature")
TYPE_SIGNATURE = Code("E1762", "ASTM", "Full Document")
FORMAT_SIGNATURE = Code("http://www.w3.org/2000/09/xmldsig#", "URN", "Default Signature Style")
PURPOSE_SOURCE = Code("1.2.840.10065.1.12.1.14", "1.2.840.10065.1.12", "Source")

# The report does not tell the kind of stay (PV1-2 is not kept): imaging acts are code 07 of the value set, the one the
# French mapping gives to outpatients.
CONTENT_TYPE_EXTERNAL = Code("07", "1.2.250.1.213.2.2", "Consultations, actes et soins externes")

# --- eventCodeList: the scheme we write, and those we recognise ----------------------------------------------------

ACT_SCHEME = "1.2.250.1.213.2.5"
MODALITY_SCHEME = "1.2.250.1.213.1.1.5.618"
REGION_SCHEME = "1.2.250.1.213.1.1.5.695"

ACT_SCHEMES = frozenset({ACT_SCHEME, "1.2.250.1.215.300.1"})  # CCAM goes by two OIDs
MODALITY_SCHEMES = frozenset({MODALITY_SCHEME, "1.2.840.10008.2.16.4", "1.2.840.10008.6.1.19", "DCM"})
REGION_SCHEMES = frozenset({REGION_SCHEME, "2.16.840.1.113883.6.96", "SCT", "SRT"})

MODALITIES = {
    "BMD": "Ostéodensitométrie",
    "CR": "Radiographie numérisée",
    "CT": "Tomodensitométrie",
    "DX": "Radiographie numérique",
    "ES": "Endoscopie",
    "IO": "Radiographie intra-orale",
    "IVUS": "Echographie intravasculaire",
    "MG": "Mammographie",
    "MR": "Imagerie par résonance magnétique",
    "NM": "Médecine nucléaire",
    "OCT": "Tomographie par cohérence optique",
    "OP": "Photographie ophtalmologique",
    "PT": "Tomographie par émission de positons",
    "PX": "Radiographie panoramique",
    "RF": "Radioscopie",
    "RG": "Radiographie conventionnelle",
    "US": "Echographie",
    "XA": "Angiographie",
    "XC": "Photographie",
}

# PS3.3 §C.7.3.1.1.1: values of Modality (0008,0060) that name a derived object, not a way to acquire images.
NOT_ACQUISITION = frozenset(
    {"ANN", "ASMT", "AU", "DOC", "FID", "KO", "M3D", "PLAN", "PR", "REG", "RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT"}
    | {"RWV", "SEG", "SMR", "SR", "STAIN", "TEXTUREMAP"}
)

# --- Who gives numbers to people and places in France (CI-SIS, nomenclatures of the ANS) ---
PROFESSIONALS = "1.2.250.1.71.4.2.1"  # RPPS and ADELI numbers
STRUCTURES = "1.2.250.1.71.4.2.2"  # FINESS and SIRET numbers
SECTORS = "1.2.250.1.71.4.2.4"  # sectors of activity, SAxx
PROFESSIONS = "1.2.250.1.71.1.2.7"
