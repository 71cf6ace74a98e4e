"""Quantities read the same everywhere, and foreign text never reaches a terminal raw."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import words
from storage import measures

HOSTILE = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from("\x00\x07\x1b\x7f\x9b\x9d\u202e\u2066\u200b\u2028\ufeff\ud800\n\r\t"),
        st.sampled_from("한漢👩🏽\u200d\ufe0f\u0301é"),
    )
)


@given(HOSTILE)
def test_safe_text_has_no_control_characters(text: str) -> None:
    """Controls, escapes, direction marks, surrogates and line breaks are made visible."""
    forbidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert set() == {unicodedata.category(c) for c in words.safe(text)} & forbidden


@given(HOSTILE)
def test_safe_text_stays_safe(text: str) -> None:
    """Making safe text safe again changes nothing, so callers need not know."""
    once = words.safe(text)
    assert once == words.safe(once)
    once.encode("utf-8")


@given(HOSTILE)
def test_safe_lines_keep_their_line_feeds_and_nothing_else(text: str) -> None:
    """Asked for lines, only the line feed stays a control character."""
    lines = words.safe(text, lines=True)
    assert text.count("\n") == lines.count("\n")
    assert "Cc" not in {unicodedata.category(c) for c in lines if c != "\n"}


@given(HOSTILE, st.integers(min_value=-1, max_value=40))
def test_cut_never_exceeds_its_width(text: str, limit: int) -> None:
    """Neither wide characters nor joiners make a cut text wider than its place."""
    assert words.width(words.cut(words.safe(text), limit)) <= max(limit, 0)
    assert words.width(words.cut(text, limit)) <= max(limit, 0)


@given(HOSTILE, st.integers(min_value=0, max_value=40), st.booleans())
def test_pad_fills_its_width_exactly(text: str, limit: int, right: bool) -> None:
    """A cell of a table is as wide as its column."""
    assert limit == words.width(words.pad(words.safe(text), limit, right=right))


@given(st.text(max_size=30), st.integers(min_value=0, max_value=40))
def test_cut_keeps_what_fits(text: str, limit: int) -> None:
    """Only what does not fit gets an ellipsis."""
    short = words.cut(text, limit)
    assert (short == text) == (words.width(text) <= limit)


@pytest.mark.parametrize(
    ("us", "said"),
    [
        (None, "–"),
        (0, "0 µs"),
        (412, "412 µs"),
        (12_000, "12 ms"),
        (999_600, "1.00 s"),
        (1_900_000, "1.90 s"),
        (12_000_000, "12.0 s"),
        (60_000_000, "1 min"),
        (252_000_000, "4 min 12 s"),
        (7_500_000_000, "2 h 5 min"),
        (273_600_000_000, "3 d 4 h"),
        (-12_000, "-12 ms"),
    ],
)
def test_durations(us: int | None, said: str) -> None:
    """A span is said in the two largest units that matter."""
    assert said == words.duration(us)


@pytest.mark.parametrize(
    ("fraction", "said"),
    [
        (0, "0 %"),
        (0.0001, "<0.1 %"),
        (0.001, "0.1 %"),
        (0.902, "90.2 %"),
        (0.9, "90 %"),
        (0.9999, ">99.9 %"),
        (1, "100 %"),
    ],
)
def test_percentages_do_not_round_to_nothing_or_all(fraction: float, said: str) -> None:
    """One error in ten thousand is not no error."""
    assert said == words.percent(fraction)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 B"),
        (627_000, "627 kB"),
        (1_940_000, "1.94 MB"),
        (80e9, "80.0 GB"),
        (999_999, "1.00 MB"),
    ],
)
def test_sizes(count: float, said: str) -> None:
    """Bytes carry their unit and three figures."""
    assert said == words.size(count)


@pytest.mark.parametrize(
    ("us", "said"),
    [(0, "now"), (42_000_000, "42 s"), (240_000_000, "4 min"), (7_200_000_000, "2 h")],
)
def test_ages(us: int, said: str) -> None:
    """How long ago is coarse on purpose."""
    assert said == words.age(us)


@pytest.mark.parametrize(
    ("micro", "said"),
    [(None, "no price set"), (21_300, "0.0213 USD"), (12_400_000, "12.40 USD")],
)
def test_money(micro: int | None, said: str) -> None:
    """Money names its currency, and a missing price is said, not shown as zero."""
    assert said == words.money(micro, "USD")


def test_moments_are_utc() -> None:
    """A moment carries its zone."""
    assert words.clock(1_795_531_687_123_456) == "2026-11-24 14:48:07Z"


def test_tables_align_by_width_not_by_length() -> None:
    """A wide character does not push the columns behind it."""
    assert words.table([("漢", "1"), ("ab", "2")]) == ["漢  1", "ab  2"]


def test_long_lists_of_names_are_shortened() -> None:
    """An error that names what is known stays a sentence."""
    assert words.one_of(["c", "b", "a"], limit=2) == "a, b and 1 more"
    assert words.one_of([]) == "none yet"


@pytest.mark.parametrize(
    ("us", "said"),
    [
        (None, "–"),
        (412, "412 µs"),
        (59_900_000, "59.9 s"),
        (60_000_000, "1.0 min"),
        (596_999_999, "9.9 min"),
        (597_000_000, "10 min"),
        (3_600_000_000, "1.0 h"),
        (777_600_000_000, "9.0 d"),
    ],
)
def test_brief_durations_fit_seven_cells(us: int | None, said: str) -> None:
    """Columns of durations do not lose their unit when a box is slow."""
    assert said == words.brief(us)
    assert words.width(said) <= 7


@given(st.floats(min_value=0, max_value=86_400e6 * 9_999))
def test_no_brief_duration_is_wider(us: float) -> None:
    """Up to decades."""
    assert words.width(words.brief(us)) <= 7


@given(st.text(alphabet="abc-1.", max_size=60), st.integers(min_value=1, max_value=40))
def test_a_squeezed_name_keeps_its_end(name: str, limit: int) -> None:
    """Two versions of a model can be told apart wherever there is room for a few cells."""
    short = words.squeeze(name, limit)
    assert words.width(short) <= limit
    assert short == name or (short.endswith(name[-min(6, limit // 2) :]) or limit == 1)


def test_an_unknown_rate_keeps_its_unit() -> None:
    """A dash alone says nothing; beside its title it is enough."""
    assert words.rate(None, "tok") == "– tok/s"
    assert words.rate(None) == "–"


def test_a_row_of_a_table_is_one_line_whatever_its_cells_hold() -> None:
    """A path may hold line feeds and escapes; they are drawn, once."""
    rows = [("file", "a\nb\x1b[31m"), ("said", words.safe("c\td"))]
    assert words.table(rows) == ["file  a␊b␛[31m", "said  c␉d"]


def test_a_share_of_few_is_a_range() -> None:
    """9 of 57 requests for a weight of 10 % are no fault of the split."""
    assert words.share(9 / 57, measures.interval(9, 57)) == "9–27 %"
    assert words.share(0.101, measures.interval(202, 2_000)) == "10.1 %"
    assert words.share(None, None) == words.UNKNOWN


@given(st.integers(1, 10_000), st.data())
def test_an_interval_holds_what_was_measured(whole: int, data: st.DataObject) -> None:
    """And gets narrower with four times as many cases of the same share."""
    part = data.draw(st.integers(0, whole))
    low, high = measures.interval(part, whole) or (1.0, 0.0)
    assert 0 <= low <= part / whole <= high <= 1
    fewer, more = measures.interval(4 * part, 4 * whole) or (0.0, 1.0)
    assert more - fewer < high - low


@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=2, max_size=9), st.integers(1, 60))
def test_a_shortened_path_keeps_the_name_of_its_file(names: list[str], limit: int) -> None:
    """It is as long as there is room for, and never shorter than that name."""
    path = "/" + "/".join(names)
    short = words.shorten_paths(path, limit)
    assert short.endswith(f"/{names[-1]}")
    assert words.width(short) <= max(limit, len(names[-1]) + 2)


def test_a_sentence_gives_up_folders_and_no_words() -> None:
    """They go from the right, as many as there is no room for."""
    said = "no file /srv/models/2026/november/ops-1.0.0.gguf; add it again"
    assert words.shorten_paths(said, 80) == said
    assert words.shorten_paths(said, 60) == said.replace("november", "novem…")
    assert words.shorten_paths(said, 36) == "no file …/ops-1.0.0.gguf; add it again"
