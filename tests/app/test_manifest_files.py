"""Manifests as files: what is written is read as the same, and faults name their place."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors, manifest_files
from app.commands import manifests
from storage import rollout_guards, rollout_syntax, splits
from storage.release_content import Content, Engine, Limits, Sampling, Server, Upstream
from storage.rollout_policies import Policy
from storage.rollout_steps import (
    Analysis,
    Mirror,
    OnLabel,
    OnNo,
    Pause,
    SetWeight,
    Strategy,
    Webhook,
)
from storage.services import Arm, Service, Split

words = st.text(st.characters(codec="utf-8", exclude_characters="\0{}"), min_size=1, max_size=20)
unit = st.floats(0, 1, allow_nan=False)
sampling = st.builds(
    Sampling,
    temperature=st.floats(0, 5, allow_nan=False),
    top_k=st.integers(0, 1000),
    min_p=unit,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
)
limits = st.builds(Limits, max_tokens=st.integers(1, 4096), queue_s=st.floats(0.01, 3600))
devices = st.none() | st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True).map(tuple)
engines = st.builds(Engine, context_tokens=st.integers(16, 99_999), devices=devices)
servers = st.builds(
    Server,
    command=st.lists(words, max_size=3).map(lambda more: ("serve", *more, "{port}")),
    environment=st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), words, max_size=3),
    model=words,
)
contents = (
    st.builds(
        Content,
        model=st.just(("ops@1.0.0", "0" * 64)),
        prompt=st.none() | st.just(("terse@3", "1" * 64)),
        sampling=sampling,
        limits=limits,
        engine=engines,
    )
    | st.builds(Content, sampling=sampling, limits=limits, server=servers)
    | st.builds(
        Content,
        sampling=sampling,
        limits=limits,
        upstream=st.builds(Upstream, name=st.just("next-door"), model=words),
    )
)


POLICIES = (
    None,
    Policy(),
    Policy(
        strategy=Strategy.SHADOW,
        steps=(
            Mirror(1250, 500, 7200), Pause(), SetWeight(1), Pause(90), Analysis(1800),
            Webhook("https://ci.example.org/ok?a=b", 600, OnNo.ABORT), SetWeight(10_000),
            Analysis(),
        ),
        guards=(*rollout_guards.GUARDS, rollout_syntax.parse_guard("agreement>=80%")),
        load_timeout_s=60,
        rollback_window_s=2 * 86_400,
        notify=("https://chat.example.org/x",),
    ),
)  # fmt: skip


def service(name: str, points: list[int], policy: Policy | None) -> Service:
    """A service whose arms have these weights."""
    split = Split(
        id=1, service=name, salt="s", set_at_us=0, set_by="kim", intent_id=None,
        arms=tuple(Arm(release=n, weight_bp=each) for n, each in enumerate(points)),
    )  # fmt: skip
    return Service(
        name=name, split=split, record_text=True, version=1, created_at_us=0, created_by="kim",
        staging_of="chat", rollout_policy=policy,
    )  # fmt: skip


@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_what_is_exported_is_applied_as_the_same(made: list[Content], data: st.DataObject) -> None:
    """Every setting, every weight, every character of a command."""
    cuts = sorted(
        data.draw(
            st.lists(
                st.integers(1, splits.WHOLE_BP - 1),
                min_size=len(made) - 1, max_size=len(made) - 1, unique=True,
            )
        )
    )  # fmt: skip
    points = [b - a for a, b in zip([0, *cuts], [*cuts, splits.WHOLE_BP], strict=True)]
    policy = data.draw(st.sampled_from(POLICIES if len(made) == 1 else POLICIES[:1]))
    on_label = data.draw(st.sampled_from(OnLabel))
    made_of = list(zip(points, made, strict=True))
    written = msgspec.structs.replace(service("chat-2", points, policy), on_label=on_label)
    text = manifest_files.text([(written, made_of)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "services.toml"
        file.write_text(text, encoding="utf-8")
        (name, read) = next(iter(manifests.read(file).items()))
    assert (name, read.record_text, read.staging_of) == ("chat-2", True, "chat")
    assert read.rollout == policy
    assert read.on_label == on_label
    assert points == [arm.weight_bp for arm in read.arms]
    for content, arm in zip(made, read.arms, strict=True):
        asked = arm.release
        assert (content.model and content.model[0]) == asked.model
        assert (content.prompt and content.prompt[0]) == asked.prompt
        for part in ("sampling", "limits", "engine", "upstream", "server"):
            assert getattr(content, part) == getattr(asked, part)


ONE = "[services.a.release]\nmodel = 'm'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[services.a]\nrecord_text = true\n", "services.a needs either release or arms"),
        ("[services.a]\nrelease = 1\n", "release: "),
        ("[services.a.release]\nmodle = 'x'\n", "modle"),
        ("[[services.a.arms]]\nweight = 60\nmodel = 'm'\n", "add up to 6000 basis points"),
        ("[[services.a.arms]]\nweight = 0.001\nmodel = 'm'\n", "finer than 0.01 percent"),
        ("[[services.a.arms]]\nweight = 'half'\nmodel = 'm'\n", "'half' is not a number"),
        ("[services.a.release]\nsampling = {temperature = -1}\n", "sampling.temperature"),
        ("[service.a]\n", "unknown keys: service"),
        (f"{ONE}[services.a.rollout]\nstrategy = 'bold'\n", "services.a: rollout.strategy"),
        (f"{ONE}[services.a.rollout]\nto = 'r2'\n", "services.a.rollout: to is unknown"),
        (
            f"{ONE}[services.a.rollout]\nsteps = ['5', 'x']\n",
            "services.a.rollout: 'x' is not a step",
        ),
        (f"{ONE}[services.a.rollout]\nguards = []\n", "services.a: rollout.guards"),
        ("[services.a]\nrelease = {model = 'm'}\nrollout = 1\n", "a.rollout is not a table"),
        ("[services.a]\nrelease = {model = 'm'}\non_label = 'soon'\n", "a.on_label is 'soon'"),
        ("", "names no service"),
        ("[services.a\n", "is not TOML"),
    ],
)
def test_a_fault_in_a_manifest_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    """Nothing is asked of the node."""
    file = tmp_path / "services.toml"
    file.write_text(text)
    with pytest.raises(errors.AppError) as refused:
        manifests.read(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
