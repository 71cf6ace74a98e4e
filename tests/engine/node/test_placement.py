"""Which workers the box needs follows from the splits, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.node import placement
from storage.models import Kind, ModelVersion, Standing
from storage.releases import Engine, Limits, Release, Sampling
from storage.services import Arm, Service, Split


def _model(
    id: int, base: int | None = None, standing: Standing = Standing.REGISTERED
) -> ModelVersion:
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
        standing=standing,
        standing_reason=None,
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
        deployment=f"m{model.base_id or model.id}-1.0.0",
        adapter="" if model.base_id is None else model.sha256[:16],
        created_at_us=0,
        created_by="sara",
        comment="",
    )


def _service(name: str, weights: dict[int, int]) -> Service:
    arms = tuple(Arm(release=number, weight_bp=weight) for number, weight in weights.items())
    split = Split(
        id=1, service=name, salt="s", arms=arms, set_at_us=0, set_by="sara", intent_id=None
    )
    return Service(
        name=name, split=split, record_text=False, version=1, created_at_us=0, created_by="sara"
    )


MODELS = {1: _model(1), 2: _model(2), 3: _model(3, base=1), 4: _model(4, None, Standing.UNLOADABLE)}
RELEASES = {number: _release(number, model) for number, model in MODELS.items()}
splits = st.dictionaries(st.integers(1, 6), st.integers(0, 10_000), min_size=1)


@given(st.lists(splits, max_size=5))
def test_each_arm_that_can_be_loaded_has_its_worker_whatever_its_weight(
    weights: list[dict[int, int]],
) -> None:
    """Weight 0 is resident too: going back takes effect on the next request."""
    found = placement.plan([_service(f"s{n}", w) for n, w in enumerate(weights)], RELEASES, MODELS)
    named = {number for each in weights for number in each}
    assert {RELEASES[number].deployment for number in named & {1, 2, 3}} == set(found)


@given(st.lists(splits, max_size=5))
def test_a_worker_loads_weights_and_never_an_adapter_or_a_broken_file(
    weights: list[dict[int, int]],
) -> None:
    """Adapters are lanes of their base's worker; what cannot be loaded is not tried."""
    found = placement.plan([_service(f"s{n}", w) for n, w in enumerate(weights)], RELEASES, MODELS)
    assert {worker.model for worker in found.values()} <= {1, 2}


def test_a_base_and_its_adapter_share_one_worker() -> None:
    """A prompt A/B or an adapter costs no second copy of the weights."""
    found = placement.plan([_service("support", {1: 9000, 3: 1000})], RELEASES, MODELS)
    assert list(found) == ["m1-1.0.0"]
    assert found["m1-1.0.0"].path == "/models/1.gguf"


def test_a_box_without_services_needs_no_worker() -> None:
    """Nothing is loaded for nobody."""
    assert placement.plan([], RELEASES, MODELS) == {}
