"""Clients that people come with work unmodified, each in an environment apart from ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.clients import environments
from tests.acceptance.llama_server import box, model_files
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

PLAN = box.Plan(
    weights=WEIGHTS, service="ops", context_tokens=2048, sequences=4, max_tokens=200,
    temperature=0.0, seed=1,
)  # fmt: skip
LANGCHAIN = "langchain-openai==1.7.4"


@pytest.fixture(scope="module", params=["text", "embedding"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A box whose service does what the test is about."""
    folder = tmp_path_factory.mktemp("clients")
    plan = PLAN
    if request.param == "embedding":
        encoder = model_files.encoder(folder, "mean")
        plan = replace(PLAN, weights=encoder, task="embedding", context_tokens=512)
    with box.running(folder / "home", plan) as made:
        yield made


@pytest.mark.parametrize(
    ("stack", "program", "packages"),
    [
        ("text", "with_langchain.py", (LANGCHAIN,)),
        ("text", "with_agents.py", ("openai-agents==0.24.0",)),
        ("text", "with_agents.py", ("pydantic-ai-slim[anthropic,openai]==2.68.0",)),
        ("embedding", "with_langchain.py", (LANGCHAIN,)),
    ],
    ids=["langchain", "openai-agents", "pydantic-ai", "langchain-embeddings"],
    indirect=["stack"],
)
def test_a_client_works_as_it_is(
    stack: Stack, program: str, packages: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Nothing that its program tries fails."""
    python = environments.program("python", *packages)
    task = request.node.callspec.params["stack"]
    environment = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    for api, url in (("OPENAI", f"{stack.url}/v1"), ("ANTHROPIC", stack.url)):
        environment |= {f"{api}_BASE_URL": url, f"{api}_API_KEY": stack.secrets["client"]}
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name(program)), task],
        env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {}
