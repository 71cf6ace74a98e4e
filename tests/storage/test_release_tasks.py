"""What releases compute: text, embeddings or rerankings, by their model and their settings."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, release_content, release_tasks, services
from storage.model_checks import ModelChecks
from storage.models import Kind, ModelVersion, Status
from storage.release_content import Engine
from storage.services import Arm
from storage.store import Store
from tests.storage import fixtures

MADE_FOR_TEXT = ModelChecks(no_text="", task="text")
MEAN = ModelChecks(no_text="bert is an encoder", task="embedding", pooling="mean", dimensions=384)
RANK = ModelChecks(no_text="bert is an encoder", task="reranking", pooling="rank")
UNPOOLED = ModelChecks(no_text="", task="embedding")
AUDIO = ModelChecks(no_text="wavtokenizer-dec decodes audio")
EARLIER = ModelChecks(no_text="")


def model(checks: ModelChecks, kind: Kind = Kind.WEIGHTS) -> ModelVersion:
    """A version with these checks, of 512 tokens of context."""
    return ModelVersion(
        id=1, model="m", version="1.0.0", kind=kind, base_id=None, path="/m", sha256="0" * 64,
        size_bytes=1, mtime_ns=1, architecture="a", parameters=1, quantisation="F16",
        context_tokens=512, licence=None, status=Status.REGISTERED, status_reason=None,
        created_at_us=1, created_by="t", checks=checks,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("checks", "task", "context"),
    [
        (MADE_FOR_TEXT, "text", 1024), (EARLIER, "text", 1024), (AUDIO, "text", 1024),
        (MEAN, "embedding", 512), (RANK, "reranking", 512),
    ],
)  # fmt: skip
def test_a_model_is_served_for_what_it_is_made(
    checks: ModelChecks, task: str, context: int
) -> None:
    """Without a word of the release; the default context is cut to the model's."""
    engine = release_tasks.resolved(model(checks), None, Engine())
    assert (engine.task, engine.context_tokens) == (task, context)


def test_what_a_release_says_stays() -> None:
    """A text model makes embeddings where it is told to, in the context that it is given."""
    asked = Engine(task="embedding", pooling="last", context_tokens=600)
    assert release_tasks.resolved(model(MADE_FOR_TEXT), None, asked) == asked


@pytest.mark.parametrize(
    ("checks", "engine", "why"),
    [
        (MADE_FOR_TEXT, Engine(), None),
        (MADE_FOR_TEXT, Engine(task="embedding"), "--pooling last"),
        (MADE_FOR_TEXT, Engine(task="embedding", pooling="last"), None),
        (EARLIER, Engine(task="embedding", pooling="mean"), None),
        (MADE_FOR_TEXT, Engine(task="reranking"), "no classifier"),
        (MEAN, Engine(task="embedding"), None),
        (MEAN, Engine(task="reranking"), "no classifier"),
        (RANK, Engine(task="reranking"), None),
        (RANK, Engine(task="embedding"), "pools by rank"),
        (RANK, Engine(task="embedding", pooling="cls"), None),
        (UNPOOLED, Engine(task="embedding"), "does not say how to pool"),
        (AUDIO, Engine(task="embedding", pooling="mean"), "decodes audio"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_the_way_out(
    checks: ModelChecks, engine: Engine, why: str | None
) -> None:
    """When the release is created, not when it is loaded."""
    refusal = release_tasks.unfit(model(checks), None, engine)
    assert refusal is None if why is None else why in (refusal or "")


async def test_the_arms_of_a_split_compute_the_same(store: Store) -> None:
    """Or each of them would refuse what another one answers, and no guard would see it."""
    there = await fixtures.furnish(store)
    arms = [Arm(release=there.stable.number, weight_bp=10_000)]

    async def work(s: AsyncSession) -> None:
        engine = Engine(task="embedding", pooling="last")
        other = await fixtures.release(s, there.weights, engine=engine)
        arms.append(Arm(release=other.number, weight_bp=0))
        await services.set_split(
            s, service="support", arms=arms, expected_version=None, actor="sara", at_us=5
        )

    with pytest.raises(errors.Invalid, match="is for text and r3 is for embedding"):
        await store.write(work)


def test_an_adapter_makes_no_embeddings() -> None:
    """Workers of embeddings load none."""
    adapter, base = model(ModelChecks(), Kind.ADAPTER), model(MEAN)
    engine = Engine(task="embedding", pooling="mean")
    assert "adapter" in (release_tasks.unfit(adapter, base, engine) or "")


@pytest.mark.parametrize(
    ("task", "pooling"),
    [("text", "mean"), ("embedding", "rank"), ("reranking", "cls"), ("speech", "model")],
)
def test_settings_that_contradict_each_other_are_refused(task: str, pooling: str) -> None:
    """In a command and in a manifest."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"task": task, "pooling": pooling}, Engine)


def test_the_task_of_a_release_from_before_there_were_tasks_is_text() -> None:
    """Its stored settings lack it, and its hash does not change."""
    before = release_content.loaded('{"context_tokens": 512}', Engine)
    assert before == Engine(context_tokens=512)
    assert release_content.reduced(before) == {"context_tokens": 512}
