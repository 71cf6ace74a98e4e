"""Which instances the box needs follows from the splits, whatever they are."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.node import planning
from engine.node.planning import Plan
from storage import deployments
from storage.deployments import Backend, Deployment
from storage.models import Kind, ModelVersion, Status
from storage.releases import Engine, Limits, Release, Sampling


def _model(id: int, base: int | None = None, status: Status = Status.REGISTERED) -> ModelVersion:
    return ModelVersion(
        id=id,
        model=f"m{id}",
        version="1.0.0",
        kind=Kind.WEIGHTS if base is None else Kind.ADAPTER,
        base_id=base,
        path=f"/models/{id}.gguf",
        sha256=f"{id:064x}",
        size_bytes=1,
        mtime_ns=1,
        architecture="llama",
        parameters=1,
        quantisation="Q8_0",
        context_tokens=2048,
        licence=None,
        status=status,
        status_reason=None,
        created_at_us=0,
        created_by="sara",
    )


def _release(number: int, model: ModelVersion) -> Release:
    return Release(
        number=number,
        sha256=f"{number:064x}",
        model_version_id=model.id,
        prompt_version_id=None,
        sampling=Sampling(),
        limits=Limits(),
        engine=Engine(),
        deployment=_name(model),
        adapter="" if model.base_id is None else model.sha256[:16],
        created_at_us=0,
        created_by="sara",
        comment="",
    )


def _name(model: ModelVersion) -> str:
    return f"m{model.base_id or model.id}-1.0.0"


def _deployment(
    model: ModelVersion, replicas: int = 1, status: deployments.Status = deployments.Status.ACTIVE
) -> Deployment:
    return Deployment(
        name=_name(model),
        backend=Backend.LOCAL,
        weights=MODELS[model.base_id or model.id].sha256,
        engine=Engine(),
        upstream=None,
        server=None,
        replicas=replicas,
        status=status,
        status_reason=None,
        created_at_us=0,
    )


MODELS = {1: _model(1), 2: _model(2), 3: _model(3, base=1), 4: _model(4, None, Status.UNLOADABLE)}
RELEASES = {number: _release(number, model) for number, model in MODELS.items()}
splits = st.lists(
    st.dictionaries(st.integers(1, 6), st.integers(0, 10_000), min_size=1), max_size=5
)
replicas = st.fixed_dictionaries({number: st.integers(1, 3) for number in MODELS})
failing = st.frozensets(st.sampled_from([1, 2, 3]))


def _plan(
    weights: list[dict[int, int]],
    replicas: dict[int, int] | None = None,
    failing: frozenset[int] = frozenset(),
) -> Plan:
    named = [RELEASES[n] for each in weights for n in each if n in RELEASES]
    deployed = [
        _deployment(
            MODELS[number],
            (replicas or {}).get(number, 1),
            deployments.Status.FAILING if number in failing else deployments.Status.ACTIVE,
        )
        for number in (1, 2, 4)
    ]
    return planning.plan(named, {each.name: each for each in deployed}, MODELS.values())


@given(weights=splits, replicas=replicas, failing=failing)
def test_each_deployment_that_a_split_names_has_its_replicas(
    weights: list[dict[int, int]], replicas: dict[int, int], failing: frozenset[int]
) -> None:
    """Whatever the weight of its arms: going back to weight 0 takes effect on the next request."""
    found = _plan(weights, replicas, failing)
    named = {RELEASES[n].deployment for each in weights for n in each if n in RELEASES}
    for number in (1, 2, 4):
        name = _name(MODELS[number])
        wanted = {each.name for each in found.wanted.values() if each.deployment == name}
        kept = {each for each in found.kept if each.rpartition(":")[0] == name}
        expected = {f"{name}:{n}" for n in range(1, replicas[number] + 1)}
        asked = name in named and number not in failing
        assert kept == (expected if asked else set())
        assert wanted == (expected if asked and number != 4 else set())  # 4 cannot be loaded


@given(weights=splits)
def test_an_instance_loads_weights_and_never_an_adapter_or_a_broken_file(
    weights: list[dict[int, int]],
) -> None:
    """Adapters are loaded on their base's instances; an unloadable file is not tried."""
    found = _plan(weights)
    loaded = [instance.weights for instance in found.wanted.values()]
    assert {each.model for each in loaded if each is not None} <= {1, 2}


def _path(found: Plan) -> str:
    weights = found.wanted["m1-1.0.0:1"].weights
    assert weights is not None
    return weights.path


def test_a_base_and_its_adapter_share_one_deployment() -> None:
    """A prompt A/B or an adapter costs no second copy of the weights."""
    found = _plan([{1: 9000, 3: 1000}])
    assert list(found.wanted) == ["m1-1.0.0:1"]
    assert _path(found) == "/models/1.gguf"


def test_the_same_content_is_loaded_from_whichever_version_can_be() -> None:
    """Two models of one file share a deployment; the file of one of them may be gone."""
    broken = _model(1, None, Status.UNLOADABLE)
    copy = msgspec.structs.replace(broken, id=9, path="/other/1.gguf", status=Status.REGISTERED)
    again = msgspec.structs.replace(RELEASES[1], number=9, model_version_id=9)
    deployed = {"m1-1.0.0": _deployment(MODELS[1])}
    found = planning.plan([RELEASES[1], again], deployed, [broken, copy])
    assert _path(found) == "/other/1.gguf"
    assert planning.plan([RELEASES[1]], deployed, [broken, copy]).wanted == {}


def test_a_box_without_services_needs_no_instance() -> None:
    """Nothing is loaded that no split names."""
    assert _plan([]) == Plan({}, frozenset())
