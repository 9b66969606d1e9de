"""What a search found: a row of the index as attributes, or as the text of DICOM JSON that QIDO-RS answers.

The row of a study is most often such text already, with its attributes in order: what is counted is put between them,
and nothing is taken apart, in a fifth of the time. A pattern knows when that is so.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.match import Level
from drimbox.dicom.scan import INDEXED

ONLINE: Final[Attributes] = {"00080056": {"vr": "CS", "Value": ["ONLINE"]}}
RETRIEVE_URL: Final = "00081190"
_STUDY_UID: Final = "0020000D"
_UIDS: Final = (("studies", _STUDY_UID), ("series", "0020000E"), ("instances", "00080018"))


@dataclass(frozen=True, slots=True)
class Found:
    """One study, series or instance that matched.

    row: the attributes of the levels from study to its own, each as DICOM JSON, and what is counted for it: of a study
    its UID, how many series and instances it has, and the JSON array of their modalities, in any order, null among
    them; of a series how many instances it has; of an instance its transfer syntax.
    """

    level: Level
    row: tuple[Any, ...]

    def attributes(self) -> Attributes:
        """As the DICOM JSON model. The values are shared with other answers: not to be changed."""
        row = self.row
        if self.level == "study":
            answer: Attributes = orjson.loads(row[0]) | ONLINE
            answer["00201206"] = {"vr": "IS", "Value": [row[2]]}
            answer["00201208"] = {"vr": "IS", "Value": [row[3]]}
            answer["00080061"] = orjson.loads(_modalities(row[4]))
            return answer
        answer = _loaded(row[0]) | ONLINE
        if self.level == "series":
            answer |= orjson.loads(row[1])
            answer["00201209"] = {"vr": "IS", "Value": [row[2]]}
            return answer
        answer |= _loaded(row[1])
        answer |= orjson.loads(row[2])
        answer["00083002"] = {"vr": "UI", "Value": [row[3]]}
        return answer

    def located(self, root: str) -> Attributes:
        """The same, with where it can be retrieved (PS3.18 §10.6.1.3). root: of the service, without a slash."""
        answer = self.attributes()
        path = "".join(f"/{name}/{answer[tag]['Value'][0]}" for name, tag in _UIDS if tag in answer)
        answer[RETRIEVE_URL] = {"vr": "UR", "Value": [root + path]}
        return answer

    def json(self, root: str) -> bytes:
        """As `located`, in the text of DICOM JSON, by increasing tag (PS3.18 §F.2.2)."""
        if self.level == "study" and (parts := _IN_ORDER.fullmatch(self.row[0])):
            first, second, third = parts.groups()
            _, study_uid, series, instances, modalities = self.row
            return _STUDY % (
                first,
                _modalities(modalities),
                second,
                _escaped(root),
                study_uid.encode(),
                third,
                series,
                instances,
            )
        return orjson.dumps(dict(sorted(self.located(root).items())))


@lru_cache(maxsize=64)
def _loaded(attributes: bytes) -> Attributes:
    """Of a study or series, which the answers below it have in common."""
    loaded: Attributes = orjson.loads(attributes)
    return loaded


@lru_cache(maxsize=512)
def _modalities(listed: str) -> bytes:
    """The attribute, of what SQLite lists."""
    values: list[Any] = sorted(value for value in orjson.loads(listed) if value)
    return orjson.dumps({"vr": "CS", "Value": values} if values else {"vr": "CS"})


@lru_cache(maxsize=64)
def _escaped(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


def _pattern() -> re.Pattern[bytes]:
    """Text of a study whose attributes are in order, in three groups: before those that are counted, between, after.

    Of plain values and names only; anything else does not fit, and is taken apart.
    """
    text = r'"(?:[^"\\]++|\\.)*+"'
    plain = rf"(?:{text}|[-+.0-9a-zE]++|\{{(?:{text}:{text},?+)*+\}})"
    value = rf'\{{"vr":"[A-Z][A-Z]"(?:,"Value":\[(?:{plain},?+)*+\])?+\}}'
    groups = ["", "", ""]
    for tag in sorted(INDEXED["study"]):
        attribute = f'"{tag}":{value}'
        if tag == _STUDY_UID:  # every study has it
            groups[2] += attribute
        elif tag > _STUDY_UID:
            groups[2] += f"(?:,{attribute})?+"
        else:
            groups[(tag > "00080061") + (tag > RETRIEVE_URL)] += f"(?:{attribute},)?+"
    return re.compile(rf"\{{({groups[0]})({groups[1]})({groups[2]})\}}".encode())


_STUDY: Final = (
    b'{%b"00080056":{"vr":"CS","Value":["ONLINE"]},"00080061":%b,%b"00081190":{"vr":"UR","Value":["%b/studies/%b"]},%b,'
    b'"00201206":{"vr":"IS","Value":[%d]},"00201208":{"vr":"IS","Value":[%d]}}'
)
_IN_ORDER: Final = _pattern()
