"""One table a door, every leaf in every table (architecture.md, "Errors at the edge")."""

import pytest

from drimbox.dicom_scp.status import DIMSE_STATUS, QUERY_STATUS, RETRIEVE_STATUS
from drimbox.errors import DrimboxError, Malformed, leaves
from drimbox.hl7.ack import ACK_CODE
from drimbox.problems import HTTP_STATUS


@pytest.mark.parametrize("table", [HTTP_STATUS, DIMSE_STATUS, QUERY_STATUS, RETRIEVE_STATUS, ACK_CODE])
def test_each_error_leaf_has_a_status(table):
    assert set(table) == set(leaves(DrimboxError))


def test_the_public_text_has_no_detail():
    error = Malformed("uid", "70 characters", detail="path of the file")
    assert str(error) == "uid: 70 characters"
