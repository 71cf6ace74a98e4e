"""A table never tears its width, and its cursor belongs to a row, not to a place."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.widgets import palette, table
from app.widgets.table import Column, Row, Table

WIDTHS = st.integers(min_value=1, max_value=30)
COLUMNS = st.lists(
    st.builds(
        Column,
        title=st.text(alphabet="ABC ", min_size=1, max_size=12),
        width=WIDTHS,
        right=st.booleans(),
        rank=st.integers(min_value=0, max_value=4),
        most=st.one_of(st.just(0), st.integers(min_value=1, max_value=40)),
    ),
    min_size=1,
    max_size=12,
)
FOREIGN = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x07[/]漢👩‍🚀\u202e\u0301 ")),
    max_size=40,
)


def least(columns: list[Column]) -> int:
    """The cells that those columns take which never go."""
    kept = [column.width for column in columns if not column.rank]
    return 1 + sum(kept) + table.GAP * max(len(kept) - 1, 0)


@settings(max_examples=25)
@given(COLUMNS, st.integers(min_value=1, max_value=240))
def test_fitted_columns_never_exceed_the_width(columns: list[Column], width: int) -> None:
    """Whatever the columns: those that are shown fit, unless those that never go do not."""
    shown = table.fitted(columns, width)
    taken = 1 + sum(cells for _, _, cells in shown) + table.GAP * (len(shown) - 1)
    assert taken <= max(width, least(columns))


@settings(max_examples=25)
@given(COLUMNS, st.integers(min_value=1, max_value=240))
def test_columns_go_by_rank(columns: list[Column], width: int) -> None:
    """No column goes while one of a higher rank stays; one without a rank always stays."""
    stays = {at for at, _, _ in table.fitted(columns, width)}
    gone = [column.rank for at, column in enumerate(columns) if at not in stays]
    kept = [column.rank for at, column in enumerate(columns) if at in stays]
    assert 0 not in gone
    assert not gone or max(kept, default=0) <= max(gone)


@settings(max_examples=25)
@given(st.data(), COLUMNS, st.integers(min_value=1, max_value=240))
def test_rows_are_as_wide_as_their_head(
    data: st.DataObject, columns: list[Column], width: int
) -> None:
    """Whatever a cell holds, columns are under their titles."""
    texts = data.draw(st.lists(FOREIGN, min_size=len(columns), max_size=len(columns)))
    row = Row("key", tuple((text, "") for text in texts))
    assert palette.length(table.head(columns, width)) == palette.length(
        table.body(columns, row, width)
    )


def rows(*keys: str) -> list[Row]:
    """Rows that show their key."""
    return [Row(key, ((key, ""),)) for key in keys]


def test_the_cursor_stays_with_its_row() -> None:
    """Rows that come above and go below do not put another row under the cursor."""
    shown, columns = Table(), [Column(title="KEY", width=5)]
    shown.show_table(columns, rows("a", "b", "c"), "")
    shown.move(1)
    shown.show_table(columns, rows("new", "a", "b"), "")
    assert shown.cursor == "b"
    assert shown.index == 2


def test_the_cursor_stays_near_a_row_that_has_gone() -> None:
    """The cursor goes to the row that is there now, to the last one, or to none."""
    shown, columns = Table(), [Column(title="KEY", width=5)]
    shown.show_table(columns, rows("a", "b", "c"), "")
    shown.move(1)
    shown.show_table(columns, rows("a", "c"), "")
    assert shown.cursor == "c"
    shown.show_table(columns, [], "none")
    assert shown.move(1) is False
    assert shown.keys == []


def test_keys_move_by_rows_pages_and_to_the_ends() -> None:
    """What does not move the cursor is not a key of the table."""
    shown, columns = Table(), [Column(title="KEY", width=5)]
    shown.show_table(columns, rows(*map(str, range(50))), "")
    for key, index in (("end", 49), ("up", 48), ("home", 0), ("down", 1), ("up", 0)):
        assert shown.key(key)
        assert shown.index == index
    assert not shown.key("s")
