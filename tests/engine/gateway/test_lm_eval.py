"""`lm_eval`, unmodified, on a small task of its own: by token ids and by chats, without a hub.

Skipped where `lm_eval` is neither on the path nor named by PADDOCK_LM_EVAL.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.execution.client import Client
from engine.execution.job import Score, Text
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

LM_EVAL = os.environ.get("PADDOCK_LM_EVAL") or shutil.which("lm_eval")
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(LM_EVAL is None, reason="lm_eval is not installed"),
    pytest.mark.skipif(not WEIGHTS.exists(), reason="the shipped model is not here"),
]

ITEMS = [
    {
        "question": f"Notes: order {number} is {state}.\nThe status of order {number} is",
        "choices": [" late.", " shipped to Vilnius on Friday.", " paid."],
        "answer": 0,
    }
    for number, state in ((17, "late"), (23, "shipped"), (157, "paid"), (9, "late"))
]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
CHOICE = """\
output_type: multiple_choice
target_delimiter: ""
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
WRITTEN = """\
output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
doc_to_target: "{{choices[answer]}}"
metric_list: [{metric: exact_match}]
"""
ROUNDING = 0.1
"""Of a sum of some ten log-probabilities in steps of other sizes."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    items = folder / "items.jsonl"
    items.write_text("".join(f"{json.dumps(item)}\n" for item in ITEMS))
    for name, rest in (("choice", CHOICE), ("written", WRITTEN)):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, items=items) + rest)
    return folder


def samples(stack: Stack, tasks: Path, task: str, path: str, *more: str, **args: Any) -> list[Any]:
    """What `lm_eval` got for each item."""
    out = tasks / f"{task}-{len(list(tasks.iterdir()))}"
    secret = stack.secrets["client"]
    given = {"base_url": f"{stack.url}{path}", "auth_token": secret, "max_length": 512, **args}
    chat = path.endswith("chat/completions")
    arguments = ",".join(f"{key}={value}" for key, value in given.items())
    command = [
        str(LM_EVAL), "--model", "local-chat-completions" if chat else "local-completions",
        "--model_args", arguments, "--tasks", task, "--include_path", str(tasks),
        "--output_path", str(out), "--log_samples", *more,
    ]  # fmt: skip
    environment = {
        **os.environ, "OPENAI_API_KEY": secret, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tasks / "cache"), "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    (file,) = out.rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(lines, key=lambda line: int(line["doc_id"]))


@pytest.mark.parametrize("batch", [1, 8])
def test_choices_get_the_scores_that_the_box_gives(stack: Stack, tasks: Path, batch: int) -> None:
    """One prompt in a request, and several: the sums of the box's own scoring, item by item."""
    path = "/services/raw/v1/completions"
    told = samples(
        stack, tasks, "choice", path, "--batch_size", str(batch), model="raw",
        tokenizer_backend="remote",
    )  # fmt: skip
    assert len(told) == len(ITEMS)
    for line, item in zip(told, ITEMS, strict=True):
        heard = [float(value) for value, _ in line["filtered_resps"]]
        assert heard == pytest.approx(scores(stack, item), abs=ROUNDING)


def scores(stack: Stack, item: dict[str, Any]) -> list[float]:
    """The log-probability of each choice of an item, by the box's own scoring."""

    async def every() -> list[float]:
        found: list[float] = []
        for choice in item["choices"]:
            score = Score(
                release=stack.releases["plain"],
                input=Text((item["question"],)),
                continuation=choice,
            )
            scored = await Client(stack.home).score(score)
            found.append(sum(token.logprob for token in scored.tokens))
        return found

    return asyncio.run(every())


def test_texts_are_generated_until_a_stop(stack: Stack, tasks: Path) -> None:
    """By token ids, and by text where no tokeniser is wanted: the same, up to the stop."""
    ids = samples(
        stack, tasks, "written", "/services/raw/v1/completions", model="raw",
        tokenizer_backend="remote",
    )  # fmt: skip
    plain = samples(
        stack, tasks, "written", "/v1/completions", model="raw", tokenizer_backend="None"
    )
    texts = [line["filtered_resps"] for line in ids]
    assert texts == [line["filtered_resps"] for line in plain]
    assert all(text[0].strip() and "\n" not in text[0] for text in texts)


def test_chats_are_answered(stack: Stack, tasks: Path) -> None:
    """With the model's own template, which the harness needs nothing of."""
    told = samples(
        stack, tasks, "written", "/v1/chat/completions", "--apply_chat_template", model="ops"
    )
    assert all(line["filtered_resps"][0].strip() for line in told)
