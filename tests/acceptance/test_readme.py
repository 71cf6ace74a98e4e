"""The README does what it says: its commands are run, in order, in a fresh home.

Fenced blocks marked `sh` are run; a block marked `sh skip` needs what a test has not (a GPU, the
network, systemd). `$` and `#` prompts are understood, and so are lines that go on after a
backslash. A line that keeps the terminal (`paddock`, `paddock serve`, `--follow`, `make demo`) is
run as its twin that ends.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FENCE = re.compile(
    r"^```sh[ \t]*(?P<skip>skip)?[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
# What builds .venv, or would run this test inside itself.
ELSEWHERE = re.compile(r"^(make|git|cd|pip|python3?(\.\d+)? -m (pip|venv)|sudo|systemctl|apt)\b")


def commands(text: str) -> list[str]:
    """The commands of the README's runnable blocks, one per item."""
    found: list[str] = []
    for fence in FENCE.finditer(text):
        if fence["skip"]:
            continue
        block = fence["text"].replace("\\\n", " ")
        prompted = re.search(r"^\$ ", block, re.MULTILINE) is not None
        for line in block.splitlines():
            command = line.removeprefix("$ ").strip()
            if prompted and not line.startswith("$ "):
                continue  # output
            if command and not command.startswith("#"):
                found.append(command)
    return found


def endless(command: str) -> str:
    """The command, or its twin that ends."""
    words = shlex.split(command, comments=True)
    if words == ["paddock"]:
        return "paddock status"
    if words[:2] == ["paddock", "serve"] and "--detach" not in words:
        return command.replace("paddock serve", "paddock serve --detach", 1)
    if words[:2] == ["paddock", "demo"]:
        return "paddock --version"  # tests/acceptance/test_demo.py runs it
    return re.sub(r"\s(--follow|-f)\b", "", command) if "tail" in words else command


def test_commands_are_found_in_fenced_blocks() -> None:
    """Prompts, comments, output, long lines and skipped blocks are told apart."""
    text = (
        "```sh\n# first\npaddock status\npaddock models add x \\\n  --name y\n```\n"
        "```sh\n$ paddock keys list\nKEY  PREFIX\n```\n"
        "```sh skip\nnvidia-smi\n```\n```toml\n[gateway]\n```\n"
    )
    assert commands(text) == [
        "paddock status",
        "paddock models add x    --name y",
        "paddock keys list",
    ]


def test_commands_that_would_not_end_are_run_as_their_twins() -> None:
    """Nothing in the README may hold this test for ever."""
    assert endless("paddock") == "paddock status"
    assert endless("paddock serve") == "paddock serve --detach"
    assert endless("paddock requests tail --follow") == "paddock requests tail"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A fresh home and a free port; the node is stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PADDOCK_HOME": str(tmp_path / "home"),
        "PADDOCK_GATEWAY__PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    yield environment
    subprocess.run(["paddock", "stop"], env=environment, capture_output=True, check=False)


def test_every_command_of_the_readme_does_what_it_says(environment: dict[str, str]) -> None:
    """They are run in order by one shell, so that a variable set above counts below."""
    port = environment["PADDOCK_GATEWAY__PORT"]
    lines = [
        endless(command).replace("8411", port)
        for command in commands(README.read_text())
        if not ELSEWHERE.match(command)
    ]
    script = "".join(f"echo {shlex.quote('+ ' + line)} >&2\n{line}\n" for line in lines)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
