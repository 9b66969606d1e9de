"""Codes of a manifest: DICOM (PS3.16), and the identity of the patient in France."""

from typing import Final

from drimbox.model import Code

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"  # Key Object Selection Document Storage

MANIFEST: Final = Code("113030", "DCM", "Manifest")
MANIFEST_WITH_DESCRIPTION: Final = Code("MADOTEMP001", "99IHE", "Manifest with Description")
KEY_OBJECT_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")

# Document titles (CID 7010) of a KOS that hides images instead of showing them (IHE RAD IOCM).
REJECTION_NOTES: Final = frozenset({"113001", "113037", "113038", "113039"})

# Document titles of a KOS that lists a whole study: CID 7010, then the placeholder of the IHE MADO drafts.
MANIFEST_TITLES: Final = frozenset({"113030", "MADOTEMP001"})

# Content items of an Image Library (TID 1600, TID 1602) where MADO describes series and instances, as we write them:
# codes of CP-2595 are still the placeholders of the trial implementation (IHE RAD MADO, table in 6.X.2.9).
LIBRARY: Final = Code("111028", "DCM", "Image Library")
LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
MODALITY: Final = Code("121139", "DCM", "Modality")
TARGET_REGION: Final = Code("123014", "DCM", "Target Region")
SERIES_UID: Final = Code("112002", "DCM", "Series Instance UID")
SERIES_NUMBER: Final = Code("113607", "DCM", "Series Number")
SERIES_DESCRIPTION: Final = Code("MADOTEMP002", "99IHE", "Series Description")
SERIES_DATE: Final = Code("MADOTEMP003", "99IHE", "Series Date")
SERIES_TIME: Final = Code("MADOTEMP004", "99IHE", "Series Time")
INSTANCES_OF_SERIES: Final = Code("MADOTEMP007", "99IHE", "Number of Series Related Instances")
SERIES_OF_STUDY: Final = Code("MADOTEMP009", "99IHE", "Number of Study Related Series")
INSTANCE_NUMBER: Final = Code("113609", "DCM", "Instance Number")
NUMBER_OF_FRAMES: Final = Code("121140", "DCM", "Number of Frames")
DOCUMENT_TITLE: Final = Code("121144", "DCM", "Document Title")

# What CP-2595 gives them; read too.
SERIES_DESCRIPTIONS: Final = frozenset({SERIES_DESCRIPTION.value, "131563"})
SERIES_DATES: Final = frozenset({SERIES_DATE.value, "131561"})
SERIES_TIMES: Final = frozenset({SERIES_TIME.value, "131562"})

# Authorities of the INS and the name they go by in HL7 v2 and in (0010,0021).
INS_NAMESPACES: Final = {
    "1.2.250.1.213.1.4.8": "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.9": "ASIP-SANTE-INS-NIA",
    "1.2.250.1.213.1.4.10": "ASIP-SANTE-INS-NIR",  # test
    "1.2.250.1.213.1.4.11": "ASIP-SANTE-INS-NIR",  # demonstration
}
