"""Twelve ways of making an XML parser fetch, expand or drown, at every entrance (reliability-security.md 3.4)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drimbox.errors import Malformed, TooLarge
from drimbox.hl7.cda import read_cda
from drimbox.xds.soap import read_answer
from drimbox.xds.xml import read_xml

SECRET = "not for you"


def attacks(file: Path, root: str) -> dict[str, str]:
    """Documents whose root is `root`, by what they try."""
    url = file.as_uri()
    body = f"<{root}>&x;</{root}>"
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return {
        "external entity": f'<!DOCTYPE {root} [<!ENTITY x SYSTEM "{url}">]>{body}',
        "entity over the network": f'<!DOCTYPE {root} [<!ENTITY x SYSTEM "http://127.0.0.1:1/x">]>{body}',
        "external DTD": f'<!DOCTYPE {root} SYSTEM "{url}"><{root}/>',
        "public DTD": f'<!DOCTYPE {root} PUBLIC "-//x//y" "{url}"><{root}/>',
        "parameter entity": f'<!DOCTYPE {root} [<!ENTITY % p SYSTEM "{url}">%p;]><{root}/>',
        "billion laughs": f'<!DOCTYPE {root} [<!ENTITY a0 "ha">{laughs}<!ENTITY x "&a9;">]>{body}',
        "quadratic blow-up": f'<!DOCTYPE {root} [<!ENTITY x "{"a" * 50_000}">]><{root}>{"&x;" * 1000}</{root}>',
        "entity in an attribute": f'<!DOCTYPE {root} [<!ENTITY x "y">]><{root} a="&x;"/>',
        "notation": f'<!DOCTYPE {root} [<!NOTATION n SYSTEM "{url}">]><{root}/>',
        "bare DOCTYPE": f"<!DOCTYPE {root}><{root}/>",
        "depth": f"<{root}>" + "<a>" * 5000 + "</a>" * 5000 + f"</{root}>",
        "XInclude": f'<{root} xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="{url}" parse="text"/>'
        f"</{root}>",
    }


ATTACKS = list(attacks(Path("/x"), "x"))
ENTRANCES: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "metadata": ("x", lambda data: read_xml(data, "metadata", 2**20)),
    "SOAP answer": ("Envelope", lambda data: read_answer("application/soap+xml", data, "urn:uuid:1")),
    "CDA": ("ClinicalDocument", read_cda),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_it_is_refused_or_harmless(entrance: str, attack: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    root, read = ENTRANCES[entrance]
    data = attacks(file, root)[attack].encode()
    if (entrance, attack) == ("metadata", "XInclude"):  # well-formed, and nobody includes
        tree = read_xml(data, "metadata", 2**20)
        assert SECRET not in "".join(str(text) for text in tree.itertext())
        return
    with pytest.raises((Malformed, TooLarge)) as refused:
        read(data)
    assert SECRET not in str(refused.value)
