"""Codes of a manifest: DICOM (PS3.16), and the identity of the patient in France."""

from typing import Final

from drimbox.model import Code

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"  # Key Object Selection Document Storage

MANIFEST: Final = Code("113030", "DCM", "Manifest")
KEY_OBJECT_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")

# Document titles (CID 7010) of a KOS that hides images instead of showing them (IHE RAD IOCM).
REJECTION_NOTES: Final = frozenset({"113001", "113037", "113038", "113039"})

# Document titles of a KOS that lists a whole study: CID 7010, then the placeholder of the IHE MADO drafts.
MANIFEST_TITLES: Final = frozenset({"113030", "MADOTEMP001"})

# Content items of an Image Library (TID 1600, TID 1602) where MADO describes series and instances.
IMAGE_LIBRARY_GROUP: Final = "126200"
MODALITY: Final = "121139"
SERIES_INSTANCE_UID: Final = "112002"
SERIES_NUMBER: Final = "113607"
SERIES_DESCRIPTION: Final = frozenset({"131563", "MADOTEMP002"})  # CP-2595, and the draft's placeholder
INSTANCE_NUMBER: Final = "113609"
NUMBER_OF_FRAMES: Final = "121140"

# Authorities of the INS and the name they go by in HL7 v2 and in (0010,0021).
INS_NAMESPACES: Final = {
    "1.2.250.1.213.1.4.8": "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.9": "ASIP-SANTE-INS-NIA",
    "1.2.250.1.213.1.4.10": "ASIP-SANTE-INS-NIR",  # test
    "1.2.250.1.213.1.4.11": "ASIP-SANTE-INS-NIR",  # demonstration
}
