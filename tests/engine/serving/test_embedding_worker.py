"""The loop of a worker of embeddings, from frame to frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from engine.serving import errors, wire
from engine.serving.embedding import Embedder
from engine.serving.embedding_worker import EmbeddingWorker
from engine.serving.knobs import Knobs
from engine.serving.llama.model import Model
from engine.serving.llama.pooled_context import PooledContext
from engine.serving.server_socket import ServerSocket
from engine.serving.worker import monotonic_us
from storage.runtime.reporting import Reports
from tests.engine.serving import tiny_gguf

Vectors = Any


class Frames:
    """A gateway that sends one frame between two steps, and then has the worker drain.

    It is replaced by another one before the frame with the index `leaves`.
    """

    def __init__(self, inboxes: Sequence[Sequence[wire.ToWorker]], leaves: int = -1) -> None:
        self._inboxes = list(inboxes)
        self._leaves = leaves
        self.sent: list[wire.FromWorker] = []
        self.drain: Callable[[], None] = lambda: None
        self.pending = 0
        self.accepted = True
        self.lost = False

    def wait(self, _timeout_s: float) -> list[wire.Inbox]:
        """The next frame."""
        if self._leaves == 0:
            self.lost = self.accepted = True
        self._leaves -= 1
        if not self._inboxes:
            self.drain()
            return []
        return [wire.Inbox(tuple(self._inboxes.pop(0)))]

    def send(self, frame: wire.Outbox) -> None:
        """Keep what the worker says."""
        self.sent += frame.items

    def of(self, kind: type[Any]) -> list[Any]:
        """All of one kind, those inside steps too."""
        steps = [each for each in self.sent if isinstance(each, wire.Step)]
        inside = [item for step in steps for item in (*step.finished, *step.refused)]
        return [each for each in (*self.sent, *inside) if isinstance(each, kind)]


class Watched(PooledContext):
    """A context that notes its steps; `fails` is raised by the next one."""

    fails: Exception | None = None
    ruin: int | None = None
    passes: Callable[[], None] = staticmethod(lambda: None)

    def compute(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """As usual, unless a fault is due."""
        self.steps = [*getattr(self, "steps", []), [len(each) for each in inputs]]
        self.passes()
        if self.fails is not None:
            failure, self.fails = self.fails, None
            raise failure
        vectors = super().compute(inputs)
        if self.ruin is not None:
            vectors[self.ruin, 0] = np.nan
            self.ruin = None
        return vectors


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny encoder."""
    path: Path = tmp_path_factory.mktemp("bert") / "m.gguf"
    tiny_gguf.bert(path)
    return Model(path, gpu_layers=0, embeds=True)


class Box:
    """One worker that has served its frames to the end."""

    def __init__(
        self,
        model: Model,
        *inboxes: Sequence[wire.ToWorker],
        fails: Exception | None = None,
        ruin: int | None = None,
        leaves: int = -1,
        takes_us: int = 0,
        **knobs: int,
    ) -> None:
        """With `takes_us`, time passes in its steps alone, so much in each."""
        now = [0]

        def passes() -> None:
            now[0] += takes_us

        self.context = Watched(model, room=64, sequences=4, threads=1)
        self.context.fails, self.context.ruin, self.context.passes = fails, ruin, passes
        self.frames = Frames(inboxes, leaves)
        worker = EmbeddingWorker(
            model,
            Embedder(model, self.context, 32),
            cast("ServerSocket", self.frames),
            Reports(os.open(os.devnull, os.O_WRONLY)),
            sha256="s", build="b", sequences=4,
            knobs=Knobs().changed({"prefill_budget": 16, **knobs}),
            now_us=(lambda: now[0]) if takes_us else monotonic_us,
        )  # fmt: skip

        def drain() -> None:
            worker.draining = True

        self.frames.drain = drain
        worker.run()

    def embedded(self) -> dict[int, wire.Embedded]:
        """The results by id."""
        return {each.id: each for each in self.frames.of(wire.Embedded)}

    def refused(self) -> dict[int, tuple[str, int]]:
        """Codes and places by id."""
        return {each.id: (each.code, each.place) for each in self.frames.of(wire.Refused)}


def embed(id: int, *texts: str, **fields: Any) -> wire.Embed:
    """A request."""
    plain: dict[str, Any] = {"adapter": "", "class_": 0, "tenant": "t", "queue_us": 60_000_000}
    return wire.Embed(id=id, inputs=tuple((text,) for text in texts), **(plain | fields))


def test_several_requests_share_steps_and_each_gets_its_own(model: Model) -> None:
    """Times add up: what the requests are charged is what the steps took."""
    box = Box(model, [embed(1, "a b", "c"), embed(2, "d e f")])
    assert box.context.steps == [[4, 3, 5]]
    results = box.embedded()
    assert results[1].tokens == (4, 3)
    assert results[2].tokens == (5,)
    steps = [each for each in box.frames.of(wire.Step) if each.prefill_tokens]
    assert sum(each.busy_us for each in results.values()) <= sum(step.busy_us for step in steps)
    assert steps[0].prefill_tokens == 12
    (hello,) = box.frames.of(wire.Hello)
    assert (hello.sequence_tokens, hello.max_sequences, hello.chat_template) == (32, 4, "")
    last = box.frames.of(wire.Step)[-1]
    assert (last.running, last.waiting) == (0, 0)


def test_a_cancelled_request_is_not_computed_on(model: Model) -> None:
    """Its refusal says what it cost; the others of its step are not affected."""
    long = embed(1, *["a b c d e f g h i j"] * 3)
    box = Box(model, [long, embed(2, "a", class_=1)], [wire.Cancel(1)], [])
    assert box.context.steps == [[12], [3]]
    (finished,) = box.frames.of(wire.Finished)
    assert (finished.id, finished.reason, finished.prompt_tokens) == (1, "cancelled", 12)
    assert set(box.embedded()) == {2}


def test_a_gateway_that_is_gone_is_not_computed_for(model: Model) -> None:
    """Its successor is greeted, and asks again."""
    box = Box(model, [embed(1, *["a " * 12] * 3)], [], [], leaves=1)
    assert len(box.context.steps) == 1
    assert not box.embedded()
    assert len(box.frames.of(wire.Hello)) == 2


def test_each_refusal_leaves_the_others_alone(model: Model) -> None:
    """Too long, for text, without tokens, more dimensions than there are; and one that is fine."""
    box = Box(
        model,
        [
            embed(1, "a", "b " * 40),
            embed(2, "a", query="b"),
            embed(3, "a", dimensions=33),
            embed(4, "a"),
            wire.Tokenise(5, "", (wire.Segment("a b", special=False),), False, 1_000_000),
            wire.Tokenise(6, "", (wire.Segment("a b", special=False),), True, 1_000_000),
            wire.LoadAdapter("lora", "/l", "0" * 64),
        ],
    )
    assert box.refused() == {1: ("too_long", 1), 2: ("task", -1), 3: ("dimensions", -1)}
    assert set(box.embedded()) == {4}
    bare, whole = (each.tokens for each in box.frames.of(wire.Tokenised))
    assert len(bare) == 2
    assert whole == tuple(model.vocabulary.tokenise_whole("a b"))
    assert box.frames.of(wire.AdapterFailed)[0].adapter == "lora"


def test_a_full_queue_refuses_new_requests_and_keeps_its_own(model: Model) -> None:
    """The further parts of a request that was taken are taken too."""
    many = ["a b c d e f g h i j"] * 4
    box = Box(
        model,
        [embed(1, *many), embed(2, *many), embed(3, *many), embed(4, *many, request=1)],
        queue_limit=1,
    )
    assert box.refused() == {3: ("queue_full", -1)}
    assert set(box.embedded()) == {1, 2, 4}


def test_a_bulk_job_of_one_tenant_does_not_lock_out_another(model: Model) -> None:
    """Nor its own work of a higher class; what it sends beyond the bound is refused."""
    many = ["a b c d e f g h i j"] * 4
    box = Box(
        model,
        [
            embed(1, *many, class_=2), embed(2, *many, class_=2), embed(3, *many, class_=2),
            embed(4, "a", class_=2, tenant="other"), embed(5, "a", tenant="other"), embed(6, "a"),
        ],
        queue_limit=1,
    )  # fmt: skip
    assert box.refused() == {3: ("queue_full", -1)}
    assert set(box.embedded()) == {1, 2, 4, 5, 6}


def test_a_request_that_did_not_begin_in_time_is_refused(model: Model) -> None:
    """The wait is over before the first step; a further part ends with the first one."""
    box = Box(
        model, [embed(1, "a", queue_us=0), embed(2, "a"), embed(3, "b", queue_us=0, request=2)]
    )
    assert box.refused() == {1: ("deadline", -1)}
    assert set(box.embedded()) == {2, 3}


def test_a_fault_of_a_step_is_that_of_its_requests(model: Model) -> None:
    """Values that are no numbers are the request's whose input they belong to."""
    box = Box(model, [embed(1, "a", "b"), embed(2, "c")], [embed(3, "d")], ruin=1)
    assert box.refused() == {1: ("model_fault", 1)}
    assert set(box.embedded()) == {2, 3}
    box = Box(model, [embed(1, "a", "c")], [embed(2, "b")], fails=errors.Aborted("no"))
    assert [each.id for each in box.frames.of(wire.Refused)] == [1]
    assert box.refused() == {1: ("engine", -1)}
    assert set(box.embedded()) == {2}


def test_the_time_of_a_step_that_fails_is_computing_time(model: Model) -> None:
    """And charged to the requests that were in it."""
    box = Box(model, [embed(1, "a", "c")], fails=errors.Aborted("no"), takes_us=5_000)
    (refused,) = box.frames.of(wire.Refused)
    assert refused.busy_us >= 5_000
    assert sum(step.busy_us for step in box.frames.of(wire.Step)) == refused.busy_us


def test_a_context_that_cannot_be_trusted_ends_the_process(model: Model) -> None:
    """The node starts another one."""
    with pytest.raises(errors.ComputeFailed):
        Box(model, [embed(1, "a")], fails=errors.ComputeFailed("broken"))


def test_what_a_draining_worker_has_is_finished(model: Model) -> None:
    """What is new is for its successor."""
    box = Box(model, [embed(1, *["a b c d e f g h i j"] * 3)])
    assert set(box.embedded()) == {1}
    assert len(box.frames.of(wire.Draining)) == 1
