"""Clients that people come with work unmodified, each in an environment apart from ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.clients import environments
from tests.acceptance.llama_server import box
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

PLAN = box.Plan(
    weights=WEIGHTS, service="ops", context_tokens=2048, sequences=4, max_tokens=200,
    temperature=0.0, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One box for this module."""
    with box.running(tmp_path_factory.mktemp("clients") / "home", PLAN) as made:
        yield made


@pytest.mark.parametrize(
    ("program", "packages"),
    [
        ("with_langchain.py", ("langchain-openai==1.7.4",)),
        ("with_agents.py", ("openai-agents==0.24.0",)),
        ("with_agents.py", ("pydantic-ai-slim[anthropic,openai]==2.68.0",)),
    ],
    ids=["langchain", "openai-agents", "pydantic-ai"],
)
def test_a_client_works_as_it_is(stack: Stack, program: str, packages: tuple[str, ...]) -> None:
    """Nothing that its program tries fails."""
    python = environments.program("python", *packages)
    environment = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    for api, url in (("OPENAI", f"{stack.url}/v1"), ("ANTHROPIC", stack.url)):
        environment |= {f"{api}_BASE_URL": url, f"{api}_API_KEY": stack.secrets["client"]}
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name(program))],
        env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {}
