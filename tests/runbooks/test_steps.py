"""Runbooks are read whole or refused with the file and the step; nothing is met half-way."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbooks import catalog, parsing, steps
from runbooks.parsing import BadRunbook
from runbooks.probes import PROBES
from storage.control_socket import verbs
from storage.home.paths import Home

GOOD = {
    "name": "good",
    "title": "A good one",
    "when": "Always.",
    "inputs": {"service": {"sentence": "which"}},
    "steps": [
        {"name": "look", "sentence": "?", "look": {"probe": "split", "of": "{service}"}},
        {"name": "act", "sentence": "!", "do": {"verb": "services.undo", "target": "{service}"}},
    ],
}


CALM = {"probe": "error_rate", "expected": "< 1"}


def read(folder: Path, book: object, name: str = "good") -> steps.Runbook:
    """The runbook as it would be read from a file."""
    path = folder / f"{name}.yaml"
    path.write_text(book if isinstance(book, str) else yaml.safe_dump(book))
    return parsing.read(path, probes=PROBES, verbs=verbs.TABLE)


def test_every_shipped_runbook_can_be_read(tmp_path: Path) -> None:
    """With the probes and verbs that there are."""
    found = catalog.every(Home(tmp_path))
    assert [book for book in found.values() if isinstance(book, str)] == []
    back = found["roll-back"]
    assert isinstance(back, steps.Runbook)
    assert [step.name for step in back.steps] == ["errors", "latency", "back"]


def test_a_broken_one_of_the_home_costs_only_itself(tmp_path: Path) -> None:
    """Its entry says what is wrong with it; the others can be started."""
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "mine.yaml").write_text("steps: none")
    found = catalog.every(Home(tmp_path))
    assert "mine.yaml" in str(found["mine"])
    assert isinstance(found["roll-back"], steps.Runbook)


def test_a_good_one_is_read(tmp_path: Path) -> None:
    """And is frozen."""
    book = read(tmp_path, GOOD)
    assert [step.name for step in book.steps] == ["look", "act"]
    with pytest.raises(AttributeError):
        book.steps[0].name = "other"  # type: ignore[misc]


def _with(step: dict[str, object]) -> dict[str, object]:
    return {**GOOD, "steps": [{"sentence": "?", **step}]}


@pytest.mark.parametrize(
    ("book", "said"),
    [
        ("{", "good.yaml: cannot be read"),
        ("- a list", "good.yaml"),
        ({**GOOD, "name": "other"}, "must be that of the file"),
        ({**GOOD, "steps": []}, "it has no steps"),
        ({**GOOD, "colour": "red"}, "colour"),
        (_with({"name": "a", "lok": {}}), "step a: Object contains unknown field `lok`"),
        (_with({"name": "a", "look": {"probe": 7}}), "step a"),
        (_with({"name": "a"}), "step a: it neither looks nor does"),
        (_with({"name": "a", "look": {"probe": "mood"}}), "step a: there is no probe mood; known:"),
        (_with({"name": "a", "do": {"verb": "box.burn"}}), "step a: there is no verb box.burn"),
        (_with({"name": "a", "look": {"probe": "split", "expected": "nice"}}), "'nice' is not an"),
        (_with({"name": "a", "look": {"probe": "split", "of": "{box}"}}), "{box}, which is not an"),
        (
            _with(
                {
                    "name": "a",
                    "look": {"probe": "split"},
                    "verify": {"probe": "split", "expected": "< 1"},
                }
            ),
            "verifies without doing",
        ),
        (
            _with(
                {
                    "name": "a",
                    "look": {"probe": "split", "of": "{service}"},
                    "do": {"verb": "services.undo", "target": "x-{looked}"},
                }
            ),
            "step a: {looked} can only be the whole value of an argument",
        ),
        ({**GOOD, "steps": GOOD["steps"] * 2}, "another step has the same name"),  # type: ignore[operator]
    ],
)
def test_a_bad_one_is_refused_with_the_place(tmp_path: Path, book: object, said: str) -> None:
    """File, step and what is wrong."""
    with pytest.raises(BadRunbook) as refused:
        read(tmp_path, book)
    assert said in str(refused.value)


@given(st.floats(-1e9, 1e9), st.floats(-1e6, 1e6).map(lambda bound: round(bound, 3)))
def test_an_expectation_compares_as_it_reads(value: float, bound: float) -> None:
    """Each operator is its own sign."""
    assert steps.as_expected(value, f"<= {bound:.3f}") == (value <= float(f"{bound:.3f}"))
    assert steps.as_expected(value, f"> {bound:.3f}") == (value > float(f"{bound:.3f}"))


def test_nothing_measured_is_never_as_expected() -> None:
    """Silence is not health."""
    assert steps.as_expected(None, "<= 1") is None
    assert steps.as_expected("r1=10000", "<= 1") is False


def test_inputs_fill_in_words_and_nothing_else() -> None:
    """No attribute, no index, no code."""
    assert steps.filled("{service}/{x.y}/{0}", {"service": "a{b}"}) == "a{b}/{x.y}/{0}"
