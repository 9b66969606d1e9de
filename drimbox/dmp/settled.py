"""Is the registry as a submission wants it? Decides what an answer left in doubt (promise P7) (pure)."""

import hashlib
from collections.abc import Sequence

from lxml import etree

from drimbox.model import Submission
from drimbox.xds import codes
from drimbox.xds.answers import Listed
from drimbox.xds.xml import NAMESPACES


def is_settled(submission: Submission, listed: Sequence[Listed]) -> bool:
    """listed: what the registry shows of the document of the submission, whatever its status.

    publish, replace: it holds these very bytes. withdraw: it shows no current one any more. update: the current one
    is visible to whom the submission says.
    """
    current = [entry for entry in listed if entry.status in (codes.APPROVED, codes.ARCHIVED)]
    match submission.kind:
        case "publish" | "replace":
            digest = hashlib.sha1(submission.manifest, usedforsecurity=False).hexdigest()
            return digest in [entry.hash for entry in listed]
        case "withdraw":
            return not current
        case "update":
            wanted = _confidentiality(submission.metadata)
            return any({(c.value, c.scheme) for c in entry.confidentiality} == wanted for entry in current)


def _confidentiality(metadata: bytes) -> set[tuple[str, str]]:
    """What our own frozen metadata say: no parser for strangers is needed."""
    path = f".//rim:Classification[@classificationScheme='{codes.ENTRY_CONFIDENTIALITY}']"
    scheme = "rim:Slot[@name='codingScheme']/rim:ValueList/rim:Value"
    return {
        (node.get("nodeRepresentation", ""), node.findtext(scheme, "", NAMESPACES))
        for node in etree.fromstring(metadata).iterfind(path, NAMESPACES)
    }
