"""The README and the guides do what they say: their commands are run, in order, in a fresh home.

Fenced blocks marked `sh` are run; each line shown below a `$` must be printed, figures included. In
a block marked `sh varies` the output shown is an example. A block marked `sh skip` needs what a
test lacks (a GPU, the network, systemd). Blocks of `python` are run too; a block of `text` is the
output of the block above it. A command that keeps the terminal (`paddock`, `paddock serve`,
`--follow`) is replaced by one that ends. `paddock` is the one of tests/paddock_commands.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import home_fixtures, paddock_commands

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (
    "rollouts", "runbooks", "models", "prompts", "alerts", "cost", "operating", "clients",
    "performance",
)  # fmt: skip
"""As the README lists them; their commands continue where those of the page before stop."""
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in GUIDES))
LINK = re.compile(r"\[[^]]*\]\((?!https?://)(?P<file>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")
FENCE = re.compile(
    r"^```(?P<kind>sh|python|text)[ \t]*(?P<mark>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
# What builds .venv, or would run this test inside itself.
ELSEWHERE = re.compile(
    r"^(make|git|cd|pip|python3?(\.\d+)? -m (pip|venv)|sudo|systemctl|apt|\. \.venv)\b"
)
MARK = "-- end of a command --"
COMMAND_BOUND_S = 180
ANSWER_LIMIT = 16 * 1024 * 1024


class Step(NamedTuple):
    """A command with the answer that its page shows."""

    command: str
    shown: tuple[str, ...] = ()


def steps(text: str) -> list[Step]:
    """The commands of the runnable blocks of a page."""
    found: list[Step] = []
    for fence in FENCE.finditer(text):
        if fence["mark"] == "skip":
            continue
        if fence["kind"] == "text":
            found[-1] = found[-1]._replace(shown=tuple(fence["text"].splitlines()))
            continue
        if fence["kind"] == "python":
            found.append(Step(f"python - <<'END'\n{fence['text']}END"))
            continue
        lines = fence["text"].replace("\\\n", " ").splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        for line in lines:
            if line.startswith("$ ") or (not prompted and line and not line.startswith("#")):
                found.append(Step(line.removeprefix("$ ").strip()))
            elif prompted and line and fence["mark"] != "varies":
                found[-1] = found[-1]._replace(shown=(*found[-1].shown, line))
    return [step for step in found if not ELSEWHERE.match(step.command)]


def plain(line: str) -> str:
    """The line without its alignment; names, versions and figures count."""
    return " ".join(line.split())


def endless(command: str) -> str:
    """The command, or its twin that ends."""
    if "\n" in command:
        return command
    words = shlex.split(command, comments=True)
    if words == ["paddock"]:
        return "paddock status"
    if words[:2] == ["paddock", "serve"] and "--detach" not in words:
        return command.replace("paddock serve", "paddock serve --detach", 1)
    if words[:2] == ["paddock", "demo"]:
        return "paddock --version"  # tests/acceptance/test_demo.py runs it
    return re.sub(r"\s(--follow|-f)\b", "", command) if "tail" in words else command


def test_commands_and_their_answers_are_found_in_fenced_blocks() -> None:
    """Prompts, comments, answers, long lines, Python and skipped blocks are told apart."""
    text = (
        "```sh\n# first\npaddock status\npaddock models add x \\\n  --name y\n```\n"
        "```sh\n$ paddock keys list\nKEY  PREFIX\n```\n```sh varies\n$ paddock\nas it is\n```\n"
        "```sh skip\nnvidia-smi\n```\n```toml\n[gateway]\n```\n```python\nprint(1)\n```\n"
        "```text\n1\n```\n"
    )
    assert steps(text) == [
        Step("paddock status"),
        Step("paddock models add x    --name y"),
        Step("paddock keys list", ("KEY  PREFIX",)),
        Step("paddock"),
        Step("python - <<'END'\nprint(1)\nEND", ("1",)),
    ]


def test_an_output_with_its_figures_changed_is_another_output() -> None:
    """r1 and r2 may not change places, nor 90 % and 10 %; only alignment does not count."""
    assert plain("r1   90 %  r2  10 %") == "r1 90 % r2 10 %"
    assert plain("r1 is ops@1.0.0.") != plain("r2 is ops@1.1.0.")


def test_commands_that_would_not_end_are_run_as_their_twins() -> None:
    """No page may block this test."""
    assert endless("paddock") == "paddock status"
    assert endless("paddock serve") == "paddock serve --detach"
    assert endless("paddock requests tail --follow") == "paddock requests tail"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A fresh home and a free port; the node is stopped at the end."""
    paddock_commands.install(tmp_path)
    places = (str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"])
    environment = {
        **os.environ,
        "PADDOCK_HOME": str(tmp_path / "home"),
        "PADDOCK_GATEWAY__PORT": str(home_fixtures.free_port()),
        "PATH": os.pathsep.join(places),
    }
    yield environment
    paddock_commands.run("stop", environment=environment)


async def answers(commands: list[str], environment: dict[str, str]) -> list[str]:
    """What each command prints, run in order by one shell: a variable set above counts below."""
    script = "".join(
        f"echo {shlex.quote('+ ' + command)} >&2\n{command}\necho {shlex.quote(MARK)}\n"
        for command in commands
    )
    printed: list[str] = []
    with tempfile.TemporaryFile("w+") as complaints:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            limit=ANSWER_LIMIT,
        )
        assert shell.stdout is not None
        try:
            for _ in commands:
                async with asyncio.timeout(COMMAND_BOUND_S):
                    said = await shell.stdout.readuntil(f"{MARK}\n".encode())
                printed.append(said.decode().removesuffix(f"{MARK}\n"))
        except (TimeoutError, asyncio.IncompleteReadError) as failure:
            complaints.seek(0)
            cut_off = getattr(failure, "partial", b"").decode()
            pytest.fail(f"{''.join(printed)}{cut_off}\n{failure!r}\n{complaints.read()}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            await shell.wait()
    return printed


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    found = re.findall(r"^#+ (.*)$", re.sub(FENCE, "", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    """Between the README, the guides and the files that they name."""
    for link in LINK.finditer(page.read_text()):
        to = page.parent / link["file"] if link["file"] else page
        assert to.exists(), link[0]
        assert link["heading"] is None or link["heading"] in headings(to), link[0]


def test_the_readme_leads_to_every_guide() -> None:
    """In the order in which their commands are run."""
    links = [link["file"] for link in LINK.finditer(PAGES[0].read_text())]
    guides = [f"docs/{name}.md" for name in GUIDES]
    assert [each for each in links if each in guides] == guides


@pytest.mark.timeout(0)  # the pages are long, and each command has a bound
async def test_every_command_of_the_pages_does_what_it_says(environment: dict[str, str]) -> None:
    """Each command succeeds, and each line that a page shows below it is printed."""
    port = environment["PADDOCK_GATEWAY__PORT"]
    walked = [step for page in PAGES for step in steps(page.read_text())]
    commands = [endless(step.command).replace("8411", port) for step in walked]
    for step, said in zip(walked, await answers(commands, environment), strict=True):
        came = [plain(line.replace(port, "8411")) for line in said.splitlines()]
        assert [line for line in step.shown if plain(line) not in came] == [], said
