"""The table of verbs: every argument checked, every refusal naming its field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import errors
from storage.control_socket import verbs
from storage.keys import Role
from storage.models import Kind
from storage.releases import Limits, Sampling

GOAL = {"metric": "thumbs_up", "better": "up", "least": 200}
GOOD: dict[str, dict[str, Any]] = {
    "alerts.set_rules": {
        "rules": [{"name": "down", "expression": "paddock_instance_up == 0", "summary": "Down."}]
    },
    "models.add": {"model": "ops", "version": "1.0.0", "path": "/m.gguf"},
    "models.alias": {"alias": "champion", "version": "1.0.0"},
    "models.export": {"to": "/srv/ops"},
    "models.unalias": {"alias": "champion"},
    "prompts.add": {"prompt": "terse", "messages": [{"role": "system", "template": "Hi"}]},
    "prompts.label": {"label": "production", "number": 3},
    "prompts.unlabel": {"label": "beta"},
    "prompts.import": {
        "versions": [
            {"prompt": "terse", "number": 1, "messages": [{"role": "system", "template": "Hi"}]}
        ]
    },
    "prompts.undo": {"label": "production", "to": 3},
    "prompts.protect": {"label": "production"},
    "prompts.unprotect": {"label": "production"},
    "releases.create": {"model": "ops@1.0.0"},
    "deployments.scale": {"replicas": 2},
    "deployments.restart": {},
    "services.create": {"release": "r1"},
    "manifests.apply": {"arms": [{"weight_bp": 10_000, "release": {"model": "ops"}}]},
    "ab_tests.start": {"arms": {"r1": 5000, "r2": 5000}, "goals": [GOAL]},
    "ab_tests.stop": {"ab_test": 1},
    "ab_tests.promote": {"ab_test": 1},
    "replays.request": {"release": "r2"},
    "replays.sample": {"service": "support", "sample": 20, "since_s": 3600},
    "replays.bisect": {"request": "req_abcd", "expect": "yes"},
    "services.split": {"arms": {"r1": 9000, "r2": 1000}},
    "services.undo": {"to": 3},
    "services.set": {"record_text": False, "on_label": "canary", "prefix_cache": "tenant"},
    "rollouts.start": {"release": "r2"},
    "rollouts.plan": {"release": "r2"},
    "rollouts.pause": {"rollout": 1},
    "rollouts.promote": {"rollout": 1},
    "rollouts.abort": {"rollout": 1},
    "rollouts.retry": {"rollout": 1},
    "rollouts.undo": {"rollout": 1},
    "keys.add": {"name": "demo", "prefix": "pk-abcdefgh", "sha256": "0" * 64, "tenant": "acme"},
    "keys.revoke": {},
    "prices.set": {"from_s": 0, "micro": 2_500_000},
    "scoring.set": {"share_bp": 1_000},
    "budgets.set": {"limit_micro": 10_000_000},
    "budgets.remove": {"period": "month"},
    "knobs.set": {"name": "max_running", "value": 8},
    "knobs.undo": {"name": "max_running", "setting": 3},
    "upstreams.add": {"url": "http://127.0.0.1:8000/v1"},
    "upstreams.rekey": {"secret": "0" * 32},
    "upstreams.remove": {},
    "runbooks.start": {"inputs": {"service": "support"}, "content": "a" * 64},
    "alerts.silence": {"matchers": ["service=support"], "for_s": 3600},
    "alerts.maintain": {"matchers": ["service=support"], "for_s": 3600},
    "alerts.add_receiver": {
        "kind": "webhook",
        "shown": "https://example.com/…",
        "secret": "0" * 32,
    },
    "incidents.open": {"title": "answers are slow"},
    "incidents.note": {"sentence": "p95 doubled with r2"},
    "incidents.rate": {"severity": "sev2"},
    "incidents.assign": {"role": "commander", "person": "kim"},
    "incidents.stable": {},
    "incidents.link": {"entry": 3},
    "incidents.write": {"section": "root_cause", "text": "The new weights."},
    "incidents.add_item": {"title": "compare lengths", "owner": "kim"},
    "incidents.finish_item": {"item": 1},
    "runbooks.undo": {},
    "runbooks.confirm": {"step": "cap", "note": "18 degrees"},
    "runbooks.note": {"text": "the batch job of finance"},
    "runbooks.hand_over": {"to": "tom"},
}


def test_every_verb_is_tried_here() -> None:
    """A verb that needs arguments has an example here; the others take none at all."""
    for name in verbs.TABLE.keys() - GOOD.keys():
        assert isinstance(verbs.parse(name, {}), verbs.TABLE[name].arguments)
    assert GOOD.keys() <= verbs.TABLE.keys()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_least_needed_is_enough(name: str) -> None:
    """The shortest arguments of each verb are taken, and one unknown field more is not."""
    verb = verbs.TABLE[name]
    assert isinstance(verbs.parse(name, GOOD[name]), verb.arguments)
    with pytest.raises(errors.BadArguments, match="unknown field `volume`"):
        verbs.parse(name, GOOD[name] | {"volume": 11})


@pytest.mark.parametrize("name", sorted(GOOD))
@given(raw=st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(), max_size=3))
def test_nonsense_is_refused_and_never_an_accident(name: str, raw: dict[str, Any]) -> None:
    """Whatever comes in: arguments, or BadArguments with the verb's name in it."""
    said = ""
    try:
        verbs.parse(name, raw)
    except errors.BadArguments as error:
        said = str(error)
    assert not said or said.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("models.add", {"model": "Ops"}, "models.add: model: "),
        ("models.add", {"version": "1"}, "models.add: version: "),
        ("models.add", {"kind": "magic"}, "models.add: kind: "),
        ("models.add", {"path": "https://h.example/m.gguf?token=x"}, "models.add: path: The query"),
        ("models.add", {"path": "https://me:pw@h.example/m.gguf"}, "models.add: path: A password"),
        ("prompts.add", {"messages": []}, "prompts.add: messages: "),
        ("prompts.add", {"messages": [{"role": "boss", "template": "x"}]}, "messages[0].role: "),
        ("prompts.label", {"number": "3"}, "prompts.label: number: Expected `int`"),
        ("releases.create", {"sampling": {"top_p": 2}}, "sampling.top_p: Expected `float` <= 1.0"),
        ("releases.create", {"engine": {"threads": -1}}, "releases.create: engine.threads: "),
        ("services.create", {"release": "first"}, "services.create: release: "),
        ("services.split", {"arms": {"r1": 1}}, "arms: the weights add up to 1 basis points"),
        ("services.split", {"arms": {}}, "services.split: arms: "),
        ("services.undo", {"intent": 7}, "services.undo: to: name the split to go back to"),
        ("services.undo", {"to": None}, "services.undo: to: name the split to go back to"),
        ("keys.add", {"role": "king"}, "keys.add: role: "),
        ("keys.add", {"sha256": "secret"}, "keys.add: sha256: "),
        ("knobs.set", {"value": 1.5}, "knobs.set: value: "),
    ],
)
def test_a_refusal_names_the_field(name: str, change: dict[str, Any], said: str) -> None:
    """So that the next try is right."""
    with pytest.raises(errors.BadArguments) as caught:
        verbs.parse(name, GOOD[name] | change)
    assert said in str(caught.value)


def test_an_unknown_verb_lists_the_known() -> None:
    """There is one table, and it says so."""
    with pytest.raises(errors.BadArguments, match=r"known: models\.add, models\."):
        verbs.parse("models.eat", {})


def test_arguments_come_as_their_own_types() -> None:
    """Omitted settings use the defaults; whole numbers are accepted as fractions."""
    created = verbs.parse("releases.create", {"model": "ops", "sampling": {"temperature": 0}})
    assert created.sampling == Sampling(temperature=0.0)
    assert (created.limits, created.engine) == (Limits(), None)
    assert verbs.parse("models.add", GOOD["models.add"]).kind is Kind.WEIGHTS
    assert verbs.parse("keys.add", GOOD["keys.add"]).role is Role.CLIENT


def test_the_table_says_who_may_and_how_dangerous_it_is() -> None:
    """Keys and upstreams are for admins, what cannot be undone is hard, runbooks the runner's."""
    table = verbs.TABLE
    assert {verb.name for verb in table.values() if verb.role is Role.ADMIN} == {
        "prices.set",
        "drills.start",
        "prompts.protect",
        "prompts.unprotect",
        "keys.add",
        "keys.revoke",
        "keys.reset",
        "upstreams.add",
        "upstreams.rekey",
        "upstreams.remove",
        "alerts.add_receiver",
        "alerts.remove_receiver",
    }
    assert {v.name for v in table.values() if v.danger is verbs.Danger.HARD} >= {
        "keys.revoke",
        "keys.reset",
        "services.remove",
    }
    ours = {name for name in table if name.startswith(("runbooks.", "drills."))}
    assert verbs.carried_out_by(verbs.Process.RUNNER) == ours
    assert all(verb.noun == verb.name.partition(".")[0] for verb in table.values())


def _patterns(type_: msgspec.inspect.Type) -> Iterator[str]:
    """The patterns of all texts in a type."""
    if isinstance(type_, msgspec.inspect.StrType) and type_.pattern is not None:
        yield type_.pattern
    for inner in (getattr(type_, name, None) for name in type_.__struct_fields__):
        found = inner if isinstance(inner, tuple) else (inner,)
        typed = [getattr(each, "type", each) for each in found]
        for each in typed:
            if isinstance(each, msgspec.inspect.Type):
                yield from _patterns(each)


def test_every_pattern_is_about_the_whole_text() -> None:
    """`$` matches before a line end, and a pattern without an end allows anything behind it."""
    types = [row.arguments for row in verbs.TABLE.values()]
    found = {each for type_ in types for each in _patterns(msgspec.inspect.type_info(type_))}
    assert len(found) >= 6
    assert [each for each in found if not each.endswith(r"\Z")] == []
    with pytest.raises(errors.BadArguments):
        verbs.parse("rollouts.start", {"release": "r2\n"})
