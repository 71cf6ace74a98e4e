"""The one wording of splits: in a sentence, as typed, as a change, in the ledger."""

from __future__ import annotations

import pytest

from storage import splits
from storage.splits import Arm

ARMS = splits.pairs([Arm(release=1, weight_bp=9_050), Arm(release=2, weight_bp=950)])


@pytest.mark.parametrize(
    ("points", "said"), [(9000, "90 %"), (25, "0.25 %"), (10_000, "100 %"), (9050, "90.5 %")]
)
def test_weights_show_what_was_set(points: int, said: str) -> None:
    """A weight is shown as it was set, without digits that were not."""
    assert said == splits.percent(points)


def test_a_split_has_one_wording() -> None:
    """For sentences, for the form, for the ledger."""
    assert splits.words(ARMS) == "r1 90.5 %, r2 9.5 %"
    assert splits.words(ARMS, " · ") == "r1 90.5 % · r2 9.5 %"
    assert splits.typed(ARMS) == "r1=90.5 r2=9.5"
    assert splits.ledger_form(ARMS) == {"r1": 9_050, "r2": 950}


def test_a_change_shows_what_is_set_and_what_will_be() -> None:
    """Each arm before and after, new and leaving arms included."""
    said = splits.change("support", {1: 9_000, 2: 1_000}, {1: 5_000, 3: 5_000})
    assert said == "support  r1 90 % → 50 %  r2 10 % → 0 %  r3 0 % → 50 %"
