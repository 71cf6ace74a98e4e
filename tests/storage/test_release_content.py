"""The identity of releases and deployments: what may change in the code without changing it."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import deployments, errors, release_content
from storage.release_content import BASELINE, Content, Engine, Limits, Sampling, Server, Upstream

engines = st.builds(
    Engine,
    context_tokens=st.integers(16, 8192),
    max_sequences=st.integers(1, 256),
    gpu_layers=st.integers(-1, 100),
    threads=st.integers(0, 8),
    prefill_budget=st.sampled_from([256, 512]),
    kv_cache_type=st.sampled_from(["f16", "q8_0"]),
    devices=st.none() | st.sampled_from([(0,), (1,), (0, 1)]),
    split=st.sampled_from(["layer", "row"]),
)
samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 5),
    top_k=st.integers(0, 100),
    seed=st.none() | st.integers(-5, 5),
)
contents = st.builds(
    Content,
    model=st.tuples(st.sampled_from(["ops@1.0.0", "ops@1.1.0"]), st.just("ab" * 32)),
    prompt=st.none() | st.just(("terse@1", "cd" * 32)),
    sampling=samplings,
    limits=st.builds(Limits, max_tokens=st.integers(1, 1000)),
    engine=engines,
)


class LaterEngine(Engine, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine settings of a later Paddock: one more setting, and another default."""

    max_sequences: int = 32
    paged: bool = True


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline of that Paddock: releases were not paged before `paged` existed."""
    grown: dict[type[msgspec.Struct], Any] = {
        **BASELINE,
        LaterEngine: {**BASELINE[Engine], "paged": False},
    }
    monkeypatch.setattr(release_content, "BASELINE", MappingProxyType(grown))


def _later(engine: Engine, **changes: Any) -> LaterEngine:
    return LaterEngine(**{**msgspec.structs.asdict(engine), "paged": False, **changes})


@given(content=contents)
@pytest.mark.usefixtures("later")
def test_a_new_setting_changes_no_hash_and_no_identity(content: Content) -> None:
    """What a release already says means the same content to a later Paddock."""
    assert content.engine is not None
    same = _later(content.engine)
    assert release_content.reduced(same) == release_content.reduced(content.engine)
    then = msgspec.structs.replace(content, engine=same)
    assert release_content.sha256(then) == release_content.sha256(content)
    assert deployments.identity("ab", same) == deployments.identity("ab", content.engine)
    paged = msgspec.structs.replace(content, engine=_later(content.engine, paged=True))
    assert release_content.sha256(paged) != release_content.sha256(content)


@given(engine=engines)
@pytest.mark.usefixtures("later")
def test_a_changed_default_gives_no_stored_release_a_new_meaning(engine: Engine) -> None:
    """Stored values win over defaults, and what was never stored reads as the baseline."""
    read = release_content.loaded(release_content.stored(engine), LaterEngine)
    assert read == _later(engine)
    oldest = release_content.loaded("{}", LaterEngine)
    assert (oldest.max_sequences, oldest.paged, oldest.split) == (16, False, "layer")


@pytest.mark.usefixtures("later")
def test_a_changed_default_is_new_content() -> None:
    """Asking for the defaults finds the release that has these values, not the old defaults'."""
    assert release_content.reduced(LaterEngine()) == {"max_sequences": 32, "paged": True}
    assert release_content.reduced(Engine()) == {}


@given(one=contents, two=contents)
def test_content_is_addressed_by_what_it_says(one: Content, two: Content) -> None:
    """Equal content has an equal hash, and different content a different one."""
    assert (release_content.sha256(one) == release_content.sha256(two)) == (one == two)


@given(one=contents, two=contents)
def test_no_hash_of_schema_1_identifies_two_contents(one: Content, two: Content) -> None:
    """Where the old schema cannot express a setting it gives no hash at all."""
    hashes = [release_content.sha256_schema_1(each) for each in (one, two)]
    if None not in hashes:
        assert (hashes[0] == hashes[1]) == (one == two)
    for each, hashed in zip((one, two), hashes, strict=True):
        assert each.engine is not None
        settings = (each.engine.devices, each.engine.split, each.engine.kv_cache_type)
        unknown = settings != (None, "layer", "f16")
        assert (hashed is None) == unknown


def test_the_identity_of_content_is_fixed() -> None:
    """Hashes that were given out: a change of one of these renames the releases of every box."""
    usual: dict[str, Any] = {"sampling": Sampling(), "limits": Limits()}
    server = Server(command=("llama-server", "--port", "{port}"), model="qwen")
    found = [
        release_content.sha256(Content(model=("ops@1.0.0", "ab" * 32), engine=Engine(), **usual)),
        release_content.sha256(
            Content(
                model=("ops@1.0.0", "ab" * 32),
                prompt=("terse@1", "cd" * 32),
                sampling=Sampling(temperature=0.0, seed=7),
                limits=Limits(max_tokens=64),
                engine=Engine(context_tokens=512, devices=(0, 1)),
            )
        ),
        release_content.sha256(Content(upstream=Upstream(name="far", model="qwen"), **usual)),
        release_content.sha256(Content(server=server, **usual)),
    ]
    assert [each[:16] for each in found] == [
        "2d62762e2d390c22",
        "e5e41f62aa4cf390",
        "78661c57bd6786ae",
        "4ac3e70f2082ecae",
    ]


def test_every_setting_has_a_baseline_or_is_required() -> None:
    """A setting without one would change the content of every release that there is."""
    for kind, baseline in BASELINE.items():
        fields = msgspec.structs.fields(kind)
        assert {each.name for each in fields if not each.required} == set(baseline)


def test_every_engine_setting_decides_what_is_loaded() -> None:
    """A new setting has to say whether it tells deployments apart."""
    assert set(deployments._LOADED) == {each.name for each in msgspec.structs.fields(Engine)}


@pytest.mark.parametrize(
    ("kind", "given_", "said"),
    [
        (Engine, {"devices": []}, "length >= 1"),
        (Engine, {"devices": [0, 0]}, "named twice"),
        (Engine, {"devices": [-1]}, ">= 0"),
        (Engine, {"devices": [0, 1], "split": "none"}, "one device"),
        (Engine, {"split": "columns"}, "columns"),
        (Upstream, {"name": "Far Away", "model": "m"}, "regex"),
        (Upstream, {"name": "far", "model": ""}, "length >= 1"),
        (Server, {"command": ["vllm", "serve"], "model": "m"}, "--port {port}"),
        (Server, {"command": ["x", "{port}", "{gpu}"], "model": "m"}, "no placeholder {gpu}"),
        (Server, {"command": [" ", "{port}"], "model": "m"}, "empty word"),
        (Server, {"command": ["x", "{port}\0"], "model": "m"}, "NUL"),
        (Server, {"command": ["x", "{port}"], "model": "m", "health_path": "health"}, "regex"),
        (Server, {"command": ["x", "{port}"], "model": "m", "environment": {"A=B": "1"}}, "regex"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_the_reason(
    kind: type[msgspec.Struct], given_: dict[str, Any], said: str
) -> None:
    """When the release is created, not when its process is started."""
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert(given_, kind)
    assert said in str(raised.value)


def test_a_setting_of_the_wrong_range_names_itself() -> None:
    """Here too, where a struct was built without validation."""
    with pytest.raises(errors.Invalid, match=r"context_tokens"):
        release_content.checked(Engine(context_tokens=1))


def test_braces_that_are_no_placeholder_are_kept() -> None:
    """JSON on a command line needs no escaping."""
    server = Server(command=("x", "{port}", '--override={"a": {"b": 1}}'), model="m")
    filled = [server.filled(word, {"port": 8001}) for word in server.command]
    assert filled == ["x", "8001", '--override={"a": {"b": 1}}']
    assert json.loads(filled[2].partition("=")[2]) == {"a": {"b": 1}}
