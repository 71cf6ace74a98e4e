"""The row above the keys: a line is edited as anywhere, an effect is shown in full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app import words
from app.widgets import bar, palette
from app.widgets.bar import Edit

SENTENCE = st.text(alphabet=st.sampled_from("abcdefg  →%漢"), max_size=200)


@given(SENTENCE, st.integers(min_value=4, max_value=120))
def test_a_confirm_shows_the_whole_effect(effect: str, width: int) -> None:
    """However narrow: nothing of what will happen is cut, and the keys are there."""
    rows = bar.asking(effect, width)
    said = "".join(palette.text(row) for row in rows).replace(" ", "")
    assert said.startswith(effect.replace(" ", ""))
    assert said.endswith("enter:doitesc:cancel"[-len(said) :])


@given(SENTENCE, st.integers(min_value=2, max_value=120))
def test_wrapped_rows_fit_and_lose_nothing(text: str, width: int) -> None:
    """Broken at spaces, inside a word only where a row has no room for it."""
    rows = bar.wrapped(text, width)
    assert all(words.width(row) <= width for row in rows)
    assert text.replace(" ", "") == "".join(rows).replace(" ", "")


def test_a_line_is_edited_as_anywhere() -> None:
    """Letters, arrows, both ends, words and halves go as in a shell."""
    edit = Edit()
    for character in "r1=90 r2=10":
        edit = edit.key("", character)
    edit = edit.key("ctrl+w", None).key("backspace", None).key("home", None).key("delete", None)
    assert Edit("1=90", 0) == edit
    edit = edit.key("", "r").key("right", None).key("ctrl+k", None)
    assert Edit("r1", 2) == edit
    assert Edit("", 0) == edit.key("ctrl+u", None)
    assert edit == edit.key("f5", None).key("tab", "\t")


def test_what_is_pasted_is_one_clean_line() -> None:
    """Only the first line counts, and escapes are made visible."""
    assert Edit("␛[31mred", 8) == Edit().insert("\x1b[31mred\nrm -rf /\n")
    assert Edit() == Edit().insert("")


@given(st.lists(st.one_of(st.text(max_size=50)), max_size=40))
def test_a_line_never_grows_without_end(pasted: list[str]) -> None:
    """Whatever is pasted, and however often."""
    edit = Edit()
    for text in pasted:
        edit = edit.insert(text)
    assert len(edit.text) <= 400
    assert 0 <= edit.at <= len(edit.text)


def test_the_cursor_of_a_line_is_seen() -> None:
    """A block covers the character that it is on, or follows the last."""
    row = bar.typing(":", Edit("rw", 1), "hint", 40)[0]
    assert ("w", "block") in row
    assert (" ", "block") in bar.typing(":", Edit("rw", 2), "hint", 40)[0]
