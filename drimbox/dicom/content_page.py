"""A structured report as a page (HTML) or as plain text, for people. Pure.

Every word comes from the report and goes in as text. The page has no script and loads nothing. The words around it are
French, with English beside them.
"""

from collections.abc import Callable, Iterable
from html import escape
from typing import Final

from drimbox.dicom.content_tree import Item, Line, items_of, moment, person_of, read_lines, text_of
from drimbox.model import InstanceRef

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;border-bottom:1px solid #999;padding-bottom:1rem}
dt{color:#555}dd{margin:0}small{color:#555}p,h2,h3{margin:.4rem 0 .4rem calc(var(--d)*1.2rem)}
p{white-space:pre-wrap;overflow-wrap:anywhere}h2{font-size:1.2rem}h3{font-size:1.05rem}
"""
_FLAGS: Final = {
    "COMPLETE": ("complet", "complete"), "PARTIAL": ("incomplet", "partial"),
    "VERIFIED": ("vérifié", "verified"), "UNVERIFIED": ("non vérifié", "unverified"),
    "PRELIMINARY": ("provisoire", "preliminary"), "FINAL": ("définitif", "final"),
}  # fmt: skip
_SEXES: Final = {"F": ("féminin", "female"), "M": ("masculin", "male"), "O": ("autre", "other")}
_OPEN: Final = {"IMAGE": ("Voir l'image", "show the image")}
_OBJECT: Final = ("Voir l'objet", "show the object")
_SEE: Final = ("voir", "see")

Words = tuple[str, str]
"""French, English."""


def build_page(report: Item, url: Callable[[InstanceRef], str]) -> bytes:
    """A structured report of the JSON model as HTML 5, in UTF-8. url: where an object it points at is retrieved."""
    title, *lines = read_lines(report)
    name = escape(title.name or "Compte rendu structuré")
    head = "".join(
        f"<dt>{escape(french)}{f' <small lang=en>{escape(english)}</small>' if english != french.lower() else ''}</dt>"
        f"<dd>{escape(value)}</dd>\n"
        for (french, english), value in _head(report)
    )
    body = "".join(_html(line, url) for line in lines)
    return (
        f'<!doctype html>\n<html lang="fr"><head><meta charset="utf-8"><title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{name}</h1>{_html_about(title)}\n<dl>\n{head}</dl>\n{body}</body></html>\n"
    ).encode("utf-8", "replace")


def build_text(report: Item) -> bytes:
    """The same as plain text in UTF-8, two spaces a level."""
    title, *lines = read_lines(report)
    told = [title.name or "Compte rendu structuré", ""]
    told += [f"{words[0]} : {value}" for words, value in _head(report)]
    told.append("")
    for line in lines:
        parts = [line.words.replace("\r\n", "\n").replace("\r", "\n")]
        if line.kind in ("IMAGE", "COMPOSITE", "WAVEFORM") and line.target:
            parts = [line.target.sop_uid, _frames(line)]
        if line.to:
            parts = [_SEE[0], line.to]
        value = " ".join(part for part in (*parts, _about(line)) if part)
        indent = "  " * (line.depth - 1)
        written = f"{line.name} : {value}" if value and line.name else value or line.name
        told += [indent + part for part in written.split("\n") if written]
    return ("\n".join(told) + "\n").encode("utf-8", "replace")


def _head(report: Item) -> Iterable[tuple[Words, str]]:
    """Who it is about, when, by whom, and how far it can be relied on; what is not told is left out."""
    sex, verified = text_of(report, "00100040"), items_of(report, "0040A073")
    signed = [
        " ".join(
            part
            for part in (person_of(one, "0040A075"), text_of(one, "0040A027"), moment(text_of(one, "0040A030")))
            if part
        )
        for one in verified
    ]
    flags = [text_of(report, tag) for tag in ("0040A491", "0040A493", "0040A496")]
    told = [
        (("Patient", "patient"), person_of(report, "00100010")),
        (("Identifiant", "identifier"), text_of(report, "00100020")),
        (("Né(e) le", "born"), moment(text_of(report, "00100030"))),
        (("Sexe", "sex"), _SEXES.get(sex, (sex, sex))[0]),
        (("Examen du", "study date"), moment(text_of(report, "00080020") + text_of(report, "00080030"))),
        (("Numéro d'accession", "accession number"), text_of(report, "00080050")),
        (("Établissement", "institution"), text_of(report, "00080080")),
        (("Rédigé le", "content date"), moment(text_of(report, "00080023") + text_of(report, "00080033"))),
        (("État", "status"), ", ".join(_FLAGS.get(flag, (flag,))[0] for flag in flags if flag)),
        (("Vérifié par", "verified by"), "; ".join(signed)),
    ]
    return [(words, value) for words, value in told if value]


def _html(line: Line, url: Callable[[InstanceRef], str]) -> str:
    anchor = f'id="c{line.number}" style="--d:{min(line.depth - 1, 12)}"'
    name = escape(line.name)
    if line.kind == "CONTAINER":
        level = "h2" if line.depth == 1 else "h3"
        return f"<{level} {anchor}>{name}{_html_about(line)}</{level}>\n"
    if line.to:
        words = f'<a href="#c{escape(line.to)}">{_SEE[0]} {escape(line.to)}</a>'
    elif line.target:
        shown, english = _OPEN.get(line.kind, _OBJECT)
        frames = f"/frames/{','.join(map(str, line.frames))}" if line.kind == "IMAGE" and line.frames else ""
        place = escape(f"{url(line.target)}{frames}{'/rendered' if line.kind == 'IMAGE' else ''}")
        words = f'<a href="{place}" title="{english}">{escape(shown)}</a> {_frames(line)}'
    else:
        words = escape(line.words)
    return f"<p {anchor}>{f'<b>{name} :</b> ' if name else ''}{words}{_html_about(line)}</p>\n"


def _html_about(line: Line) -> str:
    return f" <small>{escape(_about(line))}</small>" if line.about else ""


def _about(line: Line) -> str:
    return f"({'; '.join(line.about)})" if line.about else ""


def _frames(line: Line) -> str:
    return f"(images {', '.join(map(str, line.frames))})" if line.frames else ""
