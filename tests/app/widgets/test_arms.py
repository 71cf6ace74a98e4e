"""Figures of arms fit their columns, and nothing that tells them apart is cut."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import words
from app.snapshot import Arm, Service, TrafficWindow
from app.widgets import arms, palette, table

LATELY = TrafficWindow(window_us=300_000_000, currency="USD", priced=True)
NEVER: dict[str, None] = dict.fromkeys(("per_s", "p50_us", "p95_us", "ttft_p95_us", "tokens_per_s"))
ARM = Arm(
    service="support", release=1, model="ops@1.0.0", prompt="terse@1", weight_bp=9_000, actual=None,
    requests=0, synthetic=None, failed=0, refused=0, cancelled=0, kilo_micro=None, up=0, down=0,
    per_s=None, p50_us=None, p95_us=None, ttft_p95_us=None, tokens_per_s=None,
    queue_p95_us=None, errors=None, liked=None,
)  # fmt: skip
SHARE = st.one_of(st.none(), st.floats(0, 1))
TIME = st.one_of(st.none(), st.floats(0, 9e9))
COUNT = st.integers(0, 999_999)
ARMS = st.builds(
    Arm,
    service=st.sampled_from(("support", "a-service-with-a-very-long-name")),
    release=st.integers(1, 999),
    model=st.text(max_size=40), prompt=st.text(max_size=40),
    weight_bp=st.integers(0, 10_000), actual=SHARE,
    requests=st.just(999_999), synthetic=SHARE, failed=COUNT, refused=COUNT, cancelled=COUNT,
    per_s=st.floats(0, 9_999), tokens_per_s=st.floats(0, 99_999),
    p50_us=TIME, p95_us=TIME, ttft_p95_us=TIME, queue_p95_us=TIME, errors=SHARE, liked=SHARE,
    kilo_micro=st.one_of(st.none(), st.integers(0, 9_999_999_999)),
    up=COUNT, down=COUNT,
)  # fmt: skip


def services(*found: Arm) -> list[Service]:
    """Arms as services of one arm each."""
    return [
        Service(
            name=arm.service,
            version=1,
            record_text=False,
            requests=arm.requests,
            synthetic=arm.synthetic,
            arms=(arm,),
            history=(),
        )
        for arm in found
    ]


@settings(max_examples=25)
@given(st.lists(ARMS, min_size=1, max_size=3))
def test_every_figure_fits_its_column(found: list[Arm]) -> None:
    """No figure of the widest table is ever cut: a cut figure is a wrong one."""
    seen = services(*found)
    columns = arms.columns(LATELY, seen)
    for row in arms.rows(seen, LATELY):
        for column, (text, _) in zip(columns, row.cells, strict=True):
            if column.title not in {"MODEL", "PROMPT"}:
                assert words.width(text) <= column.width, (column.title, text)


@settings(max_examples=25)
@given(st.lists(ARMS, min_size=1, max_size=3), st.booleans())
def test_eighty_cells_hold_what_an_on_call_engineer_asks_first(
    found: list[Arm], priced: bool
) -> None:
    """Set, actual, rate, latency, errors and refusals are there at every size."""
    window = dataclasses.replace(LATELY, priced=priced)
    head = palette.text(table.head(arms.columns(window, services(*found)), 80))
    assert words.width(head) <= 80
    for title in ("ARM", "SET", "ACTUAL", "REQ/S", "LAT P95", "ERR", "REFUSED"):
        assert title in head


def test_a_release_is_never_cut() -> None:
    """Of a service with a long name, its name gives way."""
    long = dataclasses.replace(ARM, service="the-longest-name-that-a-service-has", release=14)
    assert arms.short(long) == "the-longest…/r14"
    assert arms.short(ARM) == "support/r1"


@pytest.mark.parametrize(
    ("micro", "said"),
    [(None, "–"), (0, "0.000000"), (21, "0.000021"), (21_300, "0.0213"), (12_400_000, "12.40")],
)
def test_prices_have_no_exponent(micro: int | None, said: str) -> None:
    """A small model is cheap, and that can be read."""
    assert said == arms.price(micro)


@pytest.mark.parametrize(
    ("up", "down", "said"),
    [(0, 0, "–"), (3, 1, "75 % of 4"), (999, 0, "100 % of 999"), (1_200, 34, "97 % of 1.2k"),
     (9_960, 0, "100 % of 10k"), (123_456, 0, "100% of 123k"),
     (999_500, 0, "100% of 1.0M")],
)  # fmt: skip
def test_thumbs_are_shown_with_their_number(up: int, down: int, said: str) -> None:
    """Three thumbs up are not the same as three thousand."""
    share = up / (up + down) if up + down else None
    assert said == arms.liked(dataclasses.replace(ARM, up=up, down=down, liked=share))


@pytest.mark.parametrize(
    ("window_s", "until_us", "said"),
    [(300, None, "last 5 min"), (21, None, "last 21 s"), (299, None, "last 4 min 59 s"),
     (300, 1_741_921_927_000_000, "5 min until 03:12:07Z")],
)  # fmt: skip
def test_the_window_of_the_figures_is_shown(window_s: int, until_us: int | None, said: str) -> None:
    """What the window is, and when it was if that is not now."""
    window = TrafficWindow(
        window_us=window_s * 1_000_000, currency="USD", priced=False, until_us=until_us
    )
    assert f"{said} · no price set" == arms.about(window)


def test_synthetic_load_is_labelled_wherever_requests_are_counted() -> None:
    """As a share of all requests, of all arms."""
    assert arms.about(dataclasses.replace(LATELY, synthetic=0.75)) == "last 5 min · 75 % synthetic"


def test_those_that_fail_come_first() -> None:
    """Then those that are asked most; their place in the table is kept."""
    idle, asked = ARM, dataclasses.replace(ARM, requests=9)
    failing = dataclasses.replace(ARM, requests=2, failed=1)
    order = arms.ailing_first(services(idle, asked, failing))
    assert [at for at, _ in order] == [2, 1, 0]
