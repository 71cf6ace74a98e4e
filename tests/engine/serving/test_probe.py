"""What loads and computes no numbers is refused before a request waits for it, with evidence."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from engine.backends.worker_client import Refusal
from engine.node import endings
from engine.node.load_failures import LoadTracker
from engine.node.specs import LoadFailure
from engine.node.status_lines import StatusLine
from engine.serving import probe, wire
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model
from tests.engine.serving import tiny_gguf, workers
from tests.engine.serving.tiny_gguf import BYTE, CONTROL, NORMAL
from tests.engine.serving.workers import order

TOKENS = (("<|end|>", CONTROL), *((letter, NORMAL) for letter in "abcdefgh"))
EVERY = range(len(TOKENS))
A, B, C, D, E, F, G, H = range(1, 9)


class Scripted:
    """A context with given results; `calls` are the tokens of each step."""

    def __init__(self, bad: dict[int, list[float]]) -> None:
        self.bad = bad
        self.calls: list[tuple[list[int], int]] = []

    def compute(self, tokens: list[int], start: int) -> Any:
        """The most likely token is the number of the position."""
        self.calls.append((tokens, start))
        places = range(start, start + len(tokens))
        rows = [self.bad.get(at, [float(token == at) for token in range(9)]) for at in places]
        return np.array(rows, np.float32)


def clock(*times_us: int) -> Any:
    """Times of a clock, one after the other."""
    return iter(times_us).__next__


def test_a_sound_context_is_fed_a_prompt_and_then_its_own_tokens() -> None:
    """Together first, then one by one, as serving does."""
    context = Scripted({})
    assert probe.fault(context, lambda text: [5] * len(text), 1) is None
    assert context.calls == [([1, 5, 5, 5], 0), ([3], 4), ([4], 5), ([5], 6)]


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0] * 8 + [np.nan], "NaN"),
        ([0.0, np.inf] + [0.0] * 7, "infinite"),
        ([-np.inf] * 9, "infinite"),
        ([2.5] * 9, "all equal"),
    ],
)
def test_every_logit_of_every_token_is_looked_at(at: int, row: list[float], said: str) -> None:
    """One bad number anywhere is evidence, and names its token."""
    found = probe.fault(Scripted({at: row}), lambda _: [5, 5, 5, 5], 1)
    assert found == f"logits of the probe are {said} at token {at + 1}"


def test_tokens_that_a_model_excludes_are_no_fault() -> None:
    """Minus infinity is how some architectures mask what they never say."""
    assert probe.fault(Scripted({0: [-np.inf, 1.0, 0.0] + [-np.inf] * 6}), lambda _: [5], 1) is None


def test_a_slow_model_is_probed_with_one_step() -> None:
    """Bounded: a step of a large model on a CPU may take seconds."""
    context = Scripted({})
    late = probe.PATIENCE_US + 1
    assert probe.fault(context, lambda _: [5, 5, 5], 1, now_us=clock(0, late)) is None
    assert len(context.calls) == 1


def test_the_probe_tokenises_every_kind_of_byte() -> None:
    """A tokenizer that lacks one aborts at loading, not at a client's request."""
    never = {0xC0, 0xC1, *range(0xF5, 0x100)}
    assert set(range(256)) - set(probe.TEXT.encode()) == never


def ended(model: Path, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """The return code of a worker that cannot serve a model, and what it reported."""
    command = workers.command(folder / "worker.sock", model=model, sequences=2)
    quick = os.environ | {"GGML_NO_BACKTRACE": "1"}
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, env=quick)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("damage", "evidence"),
    [
        ({"nan": EVERY}, "logits of the probe are NaN at token 1"),
        ({"blank": True}, "logits of the probe are all equal at token 1"),
    ],
)
def test_weights_that_compute_no_numbers_are_never_ready(
    tmp_path: Path, damage: dict[str, Any], evidence: str
) -> None:
    """They load, and used to answer every request with an error while all was green."""
    model = tmp_path / "damaged.gguf"
    tiny_gguf.chain(model, TOKENS, follows={A: B}, eos=0, **damage)
    code, said = ended(model, tmp_path)
    assert code == 3
    assert said[-1] == {"failed": f"{evidence}; the weights are damaged", "broken": True}
    assert not any("ready" in line for line in said)


def test_a_changed_tokenizer_aborts_while_it_is_probed_and_becomes_the_weights_fault(
    tmp_path: Path,
) -> None:
    """It used to kill the worker at each request; the node gives the file up instead."""
    model = tmp_path / "retold.gguf"
    tiny_gguf.chain(model, (*TOKENS, ("▁a", NORMAL)), follows={}, eos=0, tokenizer="llama")
    code, said = ended(model, tmp_path)
    assert code == -signal.SIGABRT
    loads = LoadTracker()
    found: list[LoadFailure | None] = []
    for _ in range(3):
        loads.now = ""
        for line in said:
            loads.hear(StatusLine(**{k: v for k, v in line.items() if k != "loading"}))
        found.append(loads.died(endings.how(code), fault=endings.is_fault(code)))
    reason = "it was killed by SIGABRT while computing a probe, 3 times in a row"
    assert found == [None, None, LoadFailure("", reason)]


def test_a_tokenizer_that_lacks_the_zero_byte_alone_is_found_too(tmp_path: Path) -> None:
    """A prompt may hold U+0000; whoever sent it ended the worker."""
    model = tmp_path / "lacking.gguf"
    bytes_but_zero = [(f"<0x{byte:02X}>", BYTE) for byte in range(1, 256)]
    vocabulary = (*TOKENS, ("▁a", NORMAL), *bytes_but_zero)
    tiny_gguf.chain(model, vocabulary, follows={}, eos=0, tokenizer="llama")
    code, said = ended(model, tmp_path)
    assert code == -signal.SIGABRT
    assert said[-1] == {"probing": True}


async def test_an_adapter_that_computes_no_numbers_fails_alone(tmp_path: Path) -> None:
    """A LoRA scaled beyond all numbers, or by NaN; base and other adapters go on answering."""
    base, path = tmp_path / "chain.gguf", tmp_path / "worker.sock"
    tiny_gguf.chain(base, TOKENS, follows={A: B, B: C, C: D, D: 0}, eos=0)
    adapters = {}
    for name, alpha in (("huge", 1e38), ("nan", float("nan")), ("good", 1e-3)):
        file = tmp_path / f"{name}.gguf"
        tiny_gguf.lora(file, len(TOKENS), alpha=alpha)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        adapters[name] = wire.LoadAdapter(name, str(file), sha256)
    with workers.running(path, model=base, sequences=2) as process:
        async with workers.connected(path) as gateway:
            gateway.client.want_adapters(adapters)
            for name in ("huge", "nan"):
                refused = await gateway.ask(order("a", adapter=name)).refusal()
                assert refused.code == "no_adapter"
                assert "the logits" not in refused.message
                assert "logits of the probe are " in refused.message
            expected = await gateway.together([order("a")])
            assert await gateway.together([order("a", adapter="good")]) == expected == ["bcd"]
            process.terminate()
        assert process.stdout is not None
        said = [json.loads(line) for line in process.stdout]
    failed = [line for line in said if line.get("adapter_failed")]
    assert {line["adapter_failed"]: line["broken"] for line in failed} == {
        "huge": True,
        "nan": True,
    }


@pytest.mark.parametrize("slots", [1, 3])
def test_what_was_no_number_does_not_stay_in_the_memory_of_a_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    """Without flash attention, what is masked is multiplied by zero, and NaN by zero is NaN."""
    defaults = llama_cpp.llama_context_default_params

    def plain() -> Any:
        params: Any = defaults()
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    monkeypatch.setattr(llama_cpp, "llama_context_default_params", plain)
    model = tmp_path / "spoilt.gguf"
    tiny_gguf.chain(model, TOKENS, follows={A: B, B: C}, eos=0, nan=(H,))
    context = Context(Model(model, gpu_layers=0), sequence_tokens=256, sequences=slots, threads=1)
    try:
        expected = context.compute([A, B], 0).copy()
        context.clear(0)
        assert np.isnan(context.compute([A, B, H], 0)[2]).all()
        context.cleanse({0})
        assert np.array_equal(context.compute([A, B], 0), expected)
    finally:
        context.free()


async def test_a_request_whose_logits_are_no_numbers_fails_alone_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    """One damaged row of the embedding: who uses it fails; the slot serves the next one well."""
    model, path = tmp_path / "spoilt.gguf", tmp_path / "worker.sock"
    follows = {A: B, B: C, C: D, D: E, E: A, G: H}
    tiny_gguf.chain(model, TOKENS, follows=follows, eos=0, nan=(H,))
    with workers.running(path, model=model, sequences=2):
        async with workers.connected(path) as gateway:
            (expected,) = await gateway.together([order("a", max_tokens=40)])
            for sampling in ({}, {"temperature": 1.0, "top_k": 3}, {"temperature": 1.0}):
                stream = gateway.ask(order("a", max_tokens=40))
                bad = await gateway.ask(order("h", **sampling)).refusal()
                assert bad.code == "model_fault"
                assert bad.message == "the logits of the model are NaN or infinite at token 1"
                begun = gateway.ask(order("g"))
                assert (await begun.refusal()).code == "model_fault"
                assert begun.text == "h"
                await stream.finish()
                assert stream.text == expected
                again = [order("a", max_tokens=40) for _ in range(3)]
                assert await gateway.together(again) == [expected] * 3
            with pytest.raises(Refusal, match="NaN"):
                await gateway.client.score(workers.score("a", "ha"))
