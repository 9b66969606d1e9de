"""Attribute by attribute, the manifest has the shape of the one the national cross-validator takes (drim-m.md B.5).

Facts read in `ansforge/DRIM-M_DATA`, test a blanc/Cross-validateur/OK_Cas_Passant/KOS_OK.xml: which attributes, where,
of which VR, and which of them are there without a value.
"""

from dataclasses import replace
from io import BytesIO

import pydicom
from manifests import MANIFEST
from pydicom import Dataset

from drimbox.kos.build import build_manifest

EMPTY = "empty"
ISSUER = {"00400032": "UT", "00400033": "CS"}
CODE = {"00080100": "SH", "00080102": "SH", "00080104": "LO"}
REFERENCE = {"00081150": "UI", "00081155": "UI"}
VALID = {
    "00080005": "CS", "00080012": "DA", "00080013": "TM", "00080016": "UI", "00080018": "UI", "00080020": "DA",
    "00080021": "DA", "00080023": "DA", "00080030": "TM", "00080031": "TM", "00080033": "TM", "00080050": EMPTY,
    "00080060": "CS", "00080070": "LO", "00080080": "LO", "00080090": "PN", "00080201": "SH", "00081030": "LO",
    "00081111": EMPTY, "00100010": "PN", "00100020": "LO", "00100021": "LO", "00100024": ISSUER, "00100030": "DA",
    "00100040": "CS", "00101001": "PN",
    "00101002": {"00100020": "LO", "00100021": "LO", "00100022": "CS", "00100024": ISSUER},
    "00104000": "LT", "0020000D": "UI", "0020000E": "UI", "00200010": "SH", "00200011": "IS", "00200013": "IS",
    "0040A040": "CS", "0040A043": CODE, "0040A050": "CS",
    "0040A370": {
        "00080050": "SH", "00080051": ISSUER, "00081110": EMPTY, "0020000D": "UI", "00321060": EMPTY,
        "00321064": EMPTY, "00400026": ISSUER, "00401001": EMPTY, "00402016": "LO", "00402017": EMPTY,
    },
    "0040A375": {
        "0020000D": "UI",
        "00081115": {
            "00081190": "UR", "00081199": {**REFERENCE, "00200013": "IS"}, "0020000E": "UI", "0040E011": "UI",
        },
    },
    "0040A730": {"0040A010": "CS", "0040A040": "CS", "00081199": REFERENCE},
}  # fmt: skip
# What is ours beside it: the template, required since 2004; the series number of the sample with key images.
ADDED = {"0040A504", "0040A375/00081115/00200011"}


def shape(dataset: Dataset, above: str = "") -> dict[str, str]:
    """Path -> VR, `empty` without a value. Of a sequence, what its last item has."""
    found: dict[str, str] = {}
    for element in dataset:
        path = f"{above}{element.tag:08X}"
        if element.VR == "SQ" and element.value:
            found |= {path: "SQ"} | shape(element.value[-1], f"{path}/")
        else:
            found[path] = element.VR if element.value not in (None, "", []) else EMPTY
    return found


def valid(level: dict[str, object], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for tag, told in level.items():
        if isinstance(told, dict):
            found |= {f"{above}{tag}": "SQ"} | valid(told, f"{above}{tag}/")
        else:
            found[f"{above}{tag}"] = str(told)
    return found


def test_the_manifest_has_the_attributes_of_the_valid_one_and_no_others() -> None:
    (first, *_) = MANIFEST.series
    manifest = replace(MANIFEST, series=(first,), location_uid="1.2.250.1.999.9")
    ours = shape(pydicom.dcmread(BytesIO(build_manifest(manifest))))
    added = {path for path in ours if path in ADDED or path.rpartition("/")[0] in ADDED}
    assert {path: vr for path, vr in ours.items() if path not in added} == valid(VALID)
    assert added >= ADDED
