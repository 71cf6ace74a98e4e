"""Runbooks are read whole or refused with the file and the step; nothing is met half-way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbooks import catalog, limits, parsing, schema, steps, values
from runbooks.parsing import BadRunbook
from runbooks.probes import PROBES
from runbooks.steps import Do
from storage.control_socket import verbs
from storage.home.paths import Home

SCHEMA = Path(__file__).parents[2] / "docs" / "runbook.schema.json"

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
        ("{", "good.yaml:1: cannot be read"),
        ("- a list", "good.yaml"),
        ({**GOOD, "name": "other"}, "must be that of the file"),
        ({**GOOD, "steps": []}, "it has no steps"),
        ({**GOOD, "colour": "red"}, "colour"),
        (_with({"name": "a", "lok": {}}), "step a: Object contains unknown field `lok`"),
        (_with({"name": "a", "look": {"probe": 7}}), "step a"),
        (_with({"name": "a"}), "step a: it neither looks, acts nor asks"),
        (_with({"name": "a", "look": {"probe": "mood"}}), "step a: there is no probe mood; known:"),
        (
            _with({"name": "a", "do": {"verb": "box.burn"}}),
            "step a: there is no verb box.burn; known: box.freeze, box.unfreeze",
        ),
        (
            _with({"name": "a", "look": {"probe": "eror_rate"}}),
            "there is no probe eror_rate; similar: error_rate, ",
        ),
        ("name: good\nname: bad", "good.yaml:2: cannot be read: name is given twice"),
        ("steps:\n  - look: {probe: a, of: b, probe: c}", "good.yaml:2: cannot be read: probe is"),
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
        (
            _with(
                {
                    "name": "a",
                    "do": {"verb": "box.unfreeze"},
                    "verify": {"probe": "box_frozen", "expected": "== 0", "unmet": "undo"},
                }
            ),
            "step a: it would undo what it did, and has no undo",
        ),
        ({**GOOD, "steps": GOOD["steps"] * 2}, "another step has the same name"),  # type: ignore[operator]
        (
            _with({"name": "a", "do": {"verb": "services.undo", "arguments": {"back": 1}}}),
            "services.undo has no argument back; it has intent, to",
        ),
        (
            _with({"name": "a", "look": CALM, "branch": [{"if": "expected", "to": "a"}]}),
            "a branch back to a is a loop",
        ),
        (
            _with({"name": "a", "look": CALM, "branch": [{"if": "expected", "to": "b"}]}),
            "there is no later step b; there are: end",
        ),
        (
            _with({"name": "a", "look": CALM, "branch": [{"if": "verified", "to": "end"}]}),
            "verified is about the step's verify, and it has none",
        ),
        (
            {**GOOD, "inputs": {"service": {"sentence": "?", "probe": "mood"}}},
            "input service: there is no probe mood",
        ),
        (
            {**GOOD, "on": {"alert": "p95", "alone": ["look"]}},
            "on: no step look acts; those that act: act",
        ),
        (
            {**GOOD, "on": {"alert": "p95", "alone": ["act"], "at_most": "often"}},
            "'often' is not a limit",
        ),
    ],
)
def test_a_bad_one_is_refused_with_the_place(tmp_path: Path, book: object, said: str) -> None:
    """File, step and what is wrong."""
    with pytest.raises(BadRunbook) as refused:
        read(tmp_path, book)
    assert said in str(refused.value)


LINES = """\
name: good
title: A good one
when: Always.
on:
  alert: p95
  alone: [act]
inputs:
  service: {sentence: which}
steps:
  - name: look
    sentence: "?"
    look:
      probe: mood
  - name: act
    sentence: "!"
    do: {verb: box.burn, target: "{services}"}
    branch:
      - if: {probe: error_rate, expected: "< 1"}
        to: look
"""


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    """All of them at once, in the order of the file."""
    path = tmp_path / "good.yaml"
    path.write_text(LINES)
    _, faults = parsing.check(path, probes=PROBES, verbs=verbs.TABLE)
    assert [fault.partition(" ")[0] for fault in faults] == [
        "good.yaml:13:", "good.yaml:16:", "good.yaml:19:", "good.yaml:14:",
    ]  # fmt: skip
    assert faults[-1].endswith("step act: it uses {services}, which is not an input")
    path.write_text(LINES.replace("probe: mood", "prob: split"))
    _, (fault,) = parsing.check(path, probes=PROBES, verbs=verbs.TABLE)
    assert fault.startswith("good.yaml:12: step look: Object contains unknown field `prob`")


def test_the_schema_is_published_with_the_probes_of_this_version() -> None:
    """To write it again: `paddock runbooks schema > docs/runbook.schema.json`."""
    assert SCHEMA.read_text() == schema.text()
    parts = schema.document()["$defs"]
    assert parts["Look"]["properties"]["probe"]["enum"] == sorted(PROBES)
    form = parts["Do"]["properties"]["verb"]["pattern"]
    assert [name for name in verbs.TABLE if re.fullmatch(form, name) is None] == []
    assert parts["Branch"]["required"] == ["if", "to"]
    assert not parts["Step"]["additionalProperties"]


def test_an_input_or_the_look_may_be_a_number_of_an_argument() -> None:
    """As its type says; with a little arithmetic on what the look saw."""
    do = Do(verb="v", arguments={"value": "{looked} * 2", "name": "{knob}", "most": "{most}"})
    given = {"knob": "max_running", "most": "4"}
    seen: dict[str, values.Value] = {"looked": 3, "most": 4}
    assert values.arguments(do, given, seen) == {"value": 6, "name": "max_running", "most": 4}
    with pytest.raises(ValueError, match="not a number"):
        values.arguments(do, given, {"looked": "r1", "most": 4})


@given(st.integers(1, 5), st.lists(st.integers(0, 100), max_size=20), st.integers(0, 200))
def test_a_limit_allows_so_many_starts_in_any_window(
    most: int, starts_s: list[int], now_s: int
) -> None:
    """The one that is allowed is counted from then on."""
    limit = limits.parsed(f"{most} per 10s")
    assert limit is not None
    within = [at for at in starts_s if now_s - 10 < at <= now_s]
    allowed = limit.allows((at * 1_000_000 for at in starts_s), now_s * 1_000_000)
    assert allowed == (len(within) < most)
    assert limits.parsed("0 per 1h") is None


@given(st.floats(-1e9, 1e9), st.floats(-1e6, 1e6).map(lambda bound: round(bound, 3)))
def test_an_expectation_compares_as_it_reads(value: float, bound: float) -> None:
    """Each operator is its own sign."""
    assert values.as_expected(value, f"<= {bound:.3f}") == (value <= float(f"{bound:.3f}"))
    assert values.as_expected(value, f"> {bound:.3f}") == (value > float(f"{bound:.3f}"))


def test_nothing_measured_is_never_as_expected() -> None:
    """Silence is not health."""
    assert values.as_expected(None, "<= 1") is None
    assert values.as_expected("r1=10000", "<= 1") is False
    assert values.as_expected("paused", "== paused") is True
    assert values.as_expected("paused", "!= paused") is False


def test_inputs_fill_in_words_and_nothing_else() -> None:
    """No attribute, no index, no code."""
    assert values.filled("{service}/{x.y}/{0}", {"service": "a{b}"}) == "a{b}/{x.y}/{0}"
