"""Person names as people look for them: without case and accents, by any of their spellings, and nearly right.

Changed, it no longer agrees with the names of an index made before: they need `rebuild-index`.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

MOST_WORDS: Final = 8  # of a name that is asked for

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
# Letters that Unicode does not take apart into a base and an accent.
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "’": "'"})
_VOICED: Final = "\u3099\u309a"  # marks of kana, and no accents: Yamada is not Yamata
_BETWEEN_WORDS = re.compile(r"[\s^=,;.*?'\\-]+")
_SHORTEST_WITH_ERROR: Final = 4  # below, one wrong letter leaves too little


def folded(text: str) -> str:
    """`text` without case and accents: two spellings of one name give the same (`ŒUVRARD-Zoé` -> `oeuvrard-zoe`).

    What people count as one character stays one, as `?` matches it: a syllable of Hangul, a kana with its mark.
    """
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    bare = "".join(letter for letter in apart if letter in _VOICED or not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", bare)


def canonical_name(text: str) -> str:
    """A name, or one of its groups, in the form in which two equal ones are the same text.

    Without the delimiters of groups that are not there: `=山田^太郎` asks for its ideographic group (PS3.5 §6.2.1.1).
    """
    return folded(text).lstrip("=").rstrip("^= ")


def spellings(names: Mapping[str, Any]) -> list[str]:
    """Every text by which a PN attribute of the DICOM JSON model is found, in canonical form."""
    return sorted(
        {text for name in names.get("Value", ()) if isinstance(name, Mapping) for text in spellings_of_name(name)}
    )


def spellings_of_name(name: Mapping[str, Any]) -> list[str]:
    """Any of its three groups, or all of them joined (PS3.5 §6.2.1)."""
    groups = [str(name.get(group, "")) for group in _GROUPS]
    return [canonical_name(text) for text in [*(group for group in groups if group), "=".join(groups)]]


def words(text: str) -> tuple[str, ...]:
    """The words of a name, folded: what lies between carets, spaces, hyphens and apostrophes."""
    return tuple(word for word in _BETWEEN_WORDS.split(folded(text)) if word)


def is_near(name: str, asked: tuple[str, ...]) -> bool:
    """Does every word that is asked begin a word of `name`, in any order, one letter wrong at most?

    A letter may be another one, one too many, one too few, or two may have changed places; not in words of three.
    """
    held = words(name)
    return all(any(_begins_like(word, wanted) for word in held) for wanted in asked)


def _begins_like(word: str, asked: str) -> bool:
    if word.startswith(asked):
        return True
    if len(asked) < _SHORTEST_WITH_ERROR:
        return False
    at = next((i for i, (a, b) in enumerate(zip(word, asked, strict=False)) if a != b), len(word))
    rest = asked[at + 1 :]
    return (
        word.startswith(rest, at + 1)  # another letter
        or word.startswith(rest, at)  # one too many
        or word.startswith(asked[at:], at + 1)  # one too few
        or (asked[at : at + 2][::-1] == word[at : at + 2] and word.startswith(asked[at + 2 :], at + 2))
    )


def pieces(word: str) -> tuple[str, ...]:
    """Texts of which at least one is in every name that has a word near this one: what an index can look for.

    Cut in three, one wrong letter, or two that changed places, leave one of them whole.
    """
    if len(word) < _SHORTEST_WITH_ERROR:
        return (word,)
    third = len(word) // 3
    return word[:third], word[third : 2 * third], word[2 * third :]
