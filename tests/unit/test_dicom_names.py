"""Names that are nearly right: what a person at a desk types, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.names import is_near, pieces, spellings, words

HELD = "dupont-lefevre^jean michel"


def test_words_lie_between_carets_hyphens_spaces_and_apostrophes() -> None:
    assert words("D'Œuvrard-Zoé^Anne  Marie=山田^太郎") == ("d", "oeuvrard", "zoe", "anne", "marie", "山田", "太郎")


@pytest.mark.parametrize(
    "asked",
    [
        "dupont",
        "dup",
        "jean dupont",
        "MICHEL LEFÈVRE",
        "dupond",  # another letter at the end
        "dopont",  # inside
        "rupont",  # at the beginning
        "duppont",  # one too many
        "dpont",  # one too few
        "upont",
        "dupnot",  # two that changed places
        "udpont",
        "lefebre",
    ],
)
def test_what_is_near(asked: str) -> None:
    assert is_near(HELD, words(asked))


@pytest.mark.parametrize("asked", ["durand", "dop", "dupant-lefavra", "jean paul", "ont", "tnopud", "dxpxnt"])
def test_what_is_not(asked: str) -> None:
    assert not is_near(HELD, words(asked))


LETTERS = "abcde"


@given(st.text(LETTERS, min_size=1, max_size=12), st.data())
def test_a_near_word_has_a_piece_of_the_one_asked(word: str, data: st.DataObject) -> None:
    """What the index is asked for must find all that `is_near` accepts."""
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(st.sampled_from(LETTERS))
    swapped = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    held = data.draw(
        st.sampled_from(
            [
                word,
                word[:at] + letter + word[at + 1 :],
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                swapped,
            ]
        )
    )
    if is_near(held + "zz", (word,)):
        assert any(piece in held for piece in pieces(word))


def test_a_name_is_found_by_each_of_its_groups() -> None:
    name = {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]}
    assert spellings(name) == sorted(["yamada^tarou", "山田^太郎", "yamada^tarou=山田^太郎"])
