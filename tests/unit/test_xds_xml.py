"""XML from outside: no DOCTYPE, no entity, no depth, no excess."""

import pytest

from drimbox.errors import Malformed, TooLarge
from drimbox.xds.xml import read_xml

LAUGHS = b"".join(b'<!ENTITY l%d "&l%d;&l%d;">' % (n, n - 1, n - 1) for n in range(1, 40))


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY l0 "l">' + LAUGHS + b"]><a>&l39;</a>",
        b'<!DOCTYPE a [<!ENTITY q "' + b"q" * 50_000 + b'">]><a>' + b"&q;" * 1000 + b"</a>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]><a/>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
        b'<!DOCTYPE a PUBLIC "-//X" "file:///etc/hostname"><a/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        b"<a>&unknown;</a>",
        b"<a>" * 200 + b"</a>" * 200,
        b"<a>" * 100_000,
        b"",
        b"   ",
        b"<a",
        b"<a/><b/>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="none"?><a/>',
        b"<a b='1' b='2'/>",
        b"<a>\x00</a>",
    ],
)
def test_hostile_xml_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_xml(data, "thing", 10_000_000)


def test_too_much_is_refused_before_parsing() -> None:
    with pytest.raises(TooLarge):
        read_xml(b"<a>" + b" " * 100 + b"</a>", "thing", 100)


def test_xinclude_comments_and_instructions_do_nothing() -> None:
    root = read_xml(
        b'<?x y?><a xmlns:xi="http://www.w3.org/2001/XInclude">t<!-- c --><?p i?>'
        b'<xi:include href="file:///etc/hostname" parse="text"/></a>',
        "thing",
        1000,
    )
    assert [child.tag for child in root] == ["{http://www.w3.org/2001/XInclude}include"]
    assert root.text == "t"
    assert len(root[0]) == 0


def test_a_document_larger_than_a_chunk_is_read_whole() -> None:
    root = read_xml(b"<a>" + b"<b>x</b>" * 10_000 + b"</a>", "thing", 1_000_000)
    assert len(root) == 10_000
