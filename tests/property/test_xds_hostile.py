"""Whatever a server answers, reading it ends in a leaf error or an answer to our message, never in a bug."""

from hypothesis import given
from hypothesis import strategies as st

from drimbox.errors import DrimboxError
from drimbox.xds.answers import read_query_response, read_registry_response
from drimbox.xds.mtom import build_mtom, read_message
from drimbox.xds.soap import Answer, Fault, read_answer, read_document

MESSAGE_ID = "urn:uuid:00000000-0000-4000-8000-000000000001"
ENVELOPE = f"""<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing"
 ><s:Header><a:RelatesTo>{MESSAGE_ID}</a:RelatesTo></s:Header><s:Body
 ><b:RetrieveDocumentSetResponse xmlns:b="urn:ihe:iti:xds-b:2007"
 ><rs:RegistryResponse xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
 status="urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"/><b:DocumentResponse
 ><b:RepositoryUniqueId>1.2</b:RepositoryUniqueId><b:DocumentUniqueId>1.3</b:DocumentUniqueId
 ><b:mimeType>application/dicom</b:mimeType><b:Document><x:Include xmlns:x="http://www.w3.org/2004/08/xop/include"
 href="cid:k"/></b:Document></b:DocumentResponse></b:RetrieveDocumentSetResponse></s:Body></s:Envelope>""".encode()
CONTENT_TYPE, CONTENT = build_mtom(ENVELOPE, {"k": b"document"}, action="urn:a", boundary="bbb")


def read_all(content_type: str, content: bytes) -> None:
    try:
        answer = read_answer(content_type, content, MESSAGE_ID)
        if isinstance(answer, Fault):
            return
        read_registry_response(answer.body)
        read_document(answer, "1.3")
        read_query_response(answer.body)
    except DrimboxError:
        pass


def test_the_answer_untouched_is_read() -> None:
    answer = read_answer(CONTENT_TYPE, CONTENT, MESSAGE_ID)
    assert isinstance(answer, Answer)
    assert read_document(answer, "1.3") == b"document"


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, len(CONTENT)), st.binary(max_size=12))
def test_a_damaged_answer_is_a_leaf_error_or_an_answer(start: int, length: int, put: bytes) -> None:
    read_all(CONTENT_TYPE, CONTENT[:start] + put + CONTENT[start + length :])


@given(st.text(max_size=200), st.binary(max_size=400))
def test_anything_at_all_is_a_leaf_error(content_type: str, content: bytes) -> None:
    read_all(content_type, content)
    read_all("multipart/related; boundary=b;" + content_type, b"--b\r\n" + content)
    read_all("application/soap+xml", content)


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_any_bytes_survive_the_packing(first: bytes, second: bytes) -> None:
    boundary = "drimbox-0123456789abcdef0123456789abcdef"
    content_type, content = build_mtom(b"<e/>", {"a": first, "b": second}, action="urn:a", boundary=boundary)
    message = read_message(content_type, content)
    assert message.envelope == b"<e/>"
    assert message.parts == {"a": first, "b": second}


@given(st.integers(0, len(CONTENT) - 5))
def test_a_message_cut_short_is_never_an_answer(kept: int) -> None:
    """The closing delimiter is the only proof that it is whole."""
    try:
        read_answer(CONTENT_TYPE, CONTENT[:kept], MESSAGE_ID)
    except DrimboxError:
        return
    raise AssertionError
