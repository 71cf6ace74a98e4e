"""The command line as a person meets it: real processes, a real node, the shipped model."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.demo import setup
from storage import migrations
from storage.home import paths as homes
from tests import home_fixtures, paddock_commands

PADDOCK = Path(sys.executable).with_name("paddock")


@dataclass(frozen=True)
class Box:
    """A home and the command that speaks about it."""

    home: Path
    port: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        environment = {
            **os.environ,
            "PADDOCK_HOME": str(self.home),
            "PADDOCK_GATEWAY__PORT": str(self.port),
            "COLUMNS": "100",
        }
        return paddock_commands.run(*words, environment=environment)

    def good(self, *words: str) -> str:
        """What a command prints that has to succeed."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.good(*words, "--json"))

    def wait_until_it_answers(self) -> None:
        """Look again until the worker of a new service has loaded its model."""
        for _ in range(100):
            if not (problems := self.json("status")["problems"]):
                return
        pytest.fail(f"It did not begin to answer: {problems}")

    def bad(self, code: int, *words: str) -> str:
        """What a command that has to fail says on standard error."""
        done = self.run(*words)
        assert code == done.returncode, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.strip()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A running node with the shipped weights and adapter, two releases and a service."""
    box = Box(tmp_path_factory.mktemp("box"), home_fixtures.free_port())
    assert "runs at" in box.good("serve", "--detach")
    try:
        (weights, adapter) = (str(setup.file(file)) for _, file, _ in setup.MODELS)
        box.good("models", "add", weights, "--name", "ops", "--version", "1.0.0")
        named = ("--name", "ops", "--version", "1.1.0", "--base", "ops@1.0.0")
        box.good("models", "add", adapter, *named)
        box.good("prompts", "add", str(setup.file("helpful.toml")))
        for version in ("1.0.0", "1.1.0"):
            box.good("releases", "create", "--model", f"ops@{version}", "--prompt", "helpful@1")
        box.good("services", "create", "support", "--release", "r1")
        box.wait_until_it_answers()
        yield box
    finally:
        box.run("stop")


def test_help_answers_at_once_without_the_store() -> None:
    """Help loads neither the store's libraries nor the screen's nor the engine's."""
    code = (
        "import sys; sys.argv = ['paddock', '--help']\n"
        "from app import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'sqlmodel', 'sqlalchemy', 'textual', 'llama_cpp', 'engine', 'httpx'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "services" in done.stdout


def test_an_unknown_command_is_a_usage_error_that_suggests(tmp_path: Path) -> None:
    """A typing error is answered with the nearest command, exit code 2."""
    said = Box(tmp_path, 1).bad(2, "servces", "list")
    assert "services" in said


def test_a_home_that_never_served_says_how_to_start(tmp_path: Path) -> None:
    """Without a store there is nothing to show: exit code 3 and the way out."""
    assert "paddock serve" in Box(tmp_path / "none", 1).bad(3, "status")


def test_status_shows_the_running_node(box: Box) -> None:
    """The first look has the node, its worker and the service."""
    status = box.good("status")
    assert "runs, pid" in status
    assert "service support" in status
    seen = box.json("status")
    assert (seen["schema"], seen["node"]["state"]) == ("paddock.status/1", "up")
    assert seen["problems"] == []
    assert [service["name"] for service in seen["services"]] == ["support"]


def test_what_was_added_is_listed_and_shown(box: Box) -> None:
    """Each noun has a list and a show, as text and as JSON."""
    assert re.findall(r"^ops@\S+", box.good("models", "list"), re.MULTILINE) == [
        "ops@1.0.0",
        "ops@1.1.0",
    ]
    assert {"weights", "adapter"} == {model["kind"] for model in box.json("models", "list")}
    assert "on ops@1.0.0" in box.good("models", "show", "ops@1.1.0")
    assert "helpful" in box.good("prompts", "list")
    assert "helpful assistant" in box.good("prompts", "show", "helpful@1")
    assert re.findall(r"^r\d+", box.good("releases", "list"), re.MULTILINE) == ["r1", "r2"]
    assert "temperature" in box.good("releases", "show", "r1")
    assert "support" in box.good("services", "list")
    assert box.json("releases", "show", "r1")["number"] == 1


def test_a_version_is_named_and_traced(box: Box) -> None:
    """An alias is written where a version is; the tree shows both, and a cycle is refused."""
    box.bad(1, "models", "alias", "ops@1.1.0", "v1", "--yes")
    box.good("models", "alias", "ops@1.1.0", "champion", "--yes")
    assert box.json("models", "show", "ops@champion")["version"] == "1.1.0"
    box.good("models", "trace", "ops@1.1.0", "--parent", "ops@1.0.0", "--dataset", "tickets@2")
    refused = box.bad(1, "models", "trace", "ops@1.0.0", "--parent", "ops@champion")
    assert "ops@1.0.0 → ops@1.1.0" in refused
    assert box.good("models", "tree").splitlines() == [
        "ops@1.0.0",
        "└─ ops@1.1.0  (champion, latest)  adapter  data tickets@2",
    ]
    box.good("models", "unalias", "ops", "champion", "--yes")
    assert box.json("models", "show", "ops")["aliases"] == ["latest"]


def test_the_tail_is_empty_before_the_first_request(box: Box) -> None:
    """With nothing to show there is a head and no error."""
    assert len(box.good("requests", "tail").splitlines()) == 1


def test_a_preview_counts_the_tokens_that_a_request_has(box: Box) -> None:
    """By the tokenizer of the loaded model, with its chat template."""
    secret = box.json("keys", "create", "--name", "preview", "--role", "client")["secret"]
    found = box.json("prompts", "preview", "helpful@1", "--user", "When does order 214 arrive?")
    assert [message["role"] for message in found["messages"]] == ["system", "user"]
    body = {
        "model": "support",
        "messages": [{"role": "user", "content": "When does order 214 arrive?"}],
    }
    answer = httpx.post(
        f"http://127.0.0.1:{box.port}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {secret}"},
        timeout=60,
    )
    assert (found["model"], found["tokens"]) == (
        "ops@1.0.0",
        answer.json()["usage"]["prompt_tokens"],
    )
    shown = box.good("prompts", "preview", "helpful@1", "--model", "ops@1.0.0")
    assert "tokens by ops@1.0.0" in shown
    assert "r1, serves support" in shown
    unknown = box.bad(1, "prompts", "preview", "helpful@1", "--var", "tone=kind")
    assert unknown.startswith("Prompt helpful@1 has no variable 'tone'")


def test_prompts_go_to_files_and_back_and_are_compared(box: Box, tmp_path: Path) -> None:
    """Export, an edit as the next version, a dry run, the import, and what is different."""
    tree = tmp_path / "prompts"
    assert box.json("prompts", "export", "helpful", str(tree))["written"] == ["helpful@1"]
    assert "1 version here already; no change." in box.good("prompts", "import", str(tree))
    second = tree / "helpful" / "2"
    second.mkdir()
    (second / "prompt.toml").write_text('comment = "shorter"')
    (second / "01-system.jinja").write_text("You are a \x1b[31mterse assistant.")
    dry = box.good("prompts", "import", str(tree), "--dry-run")
    assert dry.strip() == "Would create helpful@2; nothing was changed."
    assert box.good("prompts", "import", str(tree)).strip() == "Created helpful@2."
    shown = box.good("prompts", "diff", "helpful@1", "helpful@2")
    assert "\x1b" not in shown
    assert "You are a [-helpful-]{+␛[31mterse+} assistant." in shown
    document = box.json("prompts", "diff", "helpful@1", "helpful@2")
    pieces = document["sections"][0]["pieces"]
    assert {"change": "removed", "text": "helpful"} in pieces
    assert "same content" in box.good("prompts", "diff", "helpful@2", "helpful:latest")
    assert "no prompt helpful@9" in box.bad(1, "prompts", "diff", "helpful@1", "helpful@9")


def test_a_split_is_set_and_undone(box: Box) -> None:
    """The outcome is printed, the history grows, undo restores the split before."""
    before = box.json("services", "show", "support")["service"]
    box.good("services", "split", "support", "r1=90", "r2=10", "--reason", "try it")
    after = box.json("services", "show", "support")["service"]
    assert before["version"] + 1 == after["version"]
    assert [arm["weight_bp"] for arm in after["split"]["arms"]] == [9000, 1000]
    box.good("services", "undo", "support")
    assert "is already at split" in box.good("services", "undo", "support")
    undone = box.json("services", "show", "support")["service"]["split"]["arms"]
    assert before["split"]["arms"] == undone
    assert re.search(r"services\.split .* try it$", box.good("intents", "tail"), re.MULTILINE)
    assert re.search(r"services\.split .* try it$", box.good("ledger", "tail"), re.MULTILINE)
    split = next(each for each in box.json("intents", "tail") if each["verb"] == "services.split")
    shown = box.good("intents", "show", str(split["id"]))
    assert "try it" in shown
    assert '{"arms": {"r1": 9000, "r2": 1000}}' in shown
    assert "try it" in box.good("intents", "tail")
    assert re.search(r"services\.split +service support .* try it", box.good("ledger", "tail"))
    assert "try it" in {entry["reason"] for entry in box.json("ledger", "tail")}


def test_a_service_is_frozen_set_and_removed(box: Box) -> None:
    """Each by its command; a removal is for good, so a script says --yes."""
    box.good("services", "create", "spare", "--release", "r1")
    box.bad(2, "services", "freeze", "spare")  # without a reason
    box.good("services", "freeze", "spare", "--reason", "rehearsal")
    assert "frozen by" in box.good("services", "show", "spare")
    assert "rehearsal" in box.bad(1, "services", "split", "spare", "r2=100")
    box.good("services", "unfreeze", "spare")
    box.good("services", "set", "spare", "--record-text")
    assert box.json("services", "show", "spare")["service"]["record_text"] is True
    box.good("services", "set", "spare", "--no-record-text")
    box.good("services", "remove", "spare", "--yes")
    assert "spare" not in box.good("services", "list")


def test_the_whole_box_is_frozen_and_unfrozen(box: Box) -> None:
    """By commands that are no noun's; the outcome is printed, and a split is refused meanwhile."""
    box.bad(2, "freeze", "--yes")  # without a reason
    assert "Froze the box" in box.good("freeze", "--reason", "rehearsal", "--yes")
    assert "rehearsal" in box.bad(1, "services", "split", "support", "r1=50", "r2=50")
    assert "Unfroze the box" in box.good("unfreeze", "--yes")
    box.good("services", "split", "support", "r1=50", "r2=50")
    box.good("services", "undo", "support")


def test_the_doctor_finds_a_running_box_and_says_what_to_do(box: Box) -> None:
    """Warnings leave the exit code as it is."""
    found = {each["subject"]: each for each in box.json("doctor")}
    assert found["node"]["level"] == found["store"]["level"] == "ok"
    assert "paddock backup" in found["backup"]["advice"]


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ("services", "split", "support", "r1=90", "r2=20"), "110 %"),
        (2, ("services", "split", "support", "r1=ninety"), "RELEASE=PERCENT"),
        (2, ("services", "split", "support", "r1=50", "r1=50"), "named twice"),
        (2, ("services", "split", "support", "r1=inf"), "RELEASE=PERCENT"),
        (2, ("services", "split", "support", "r1=9e999999999"), "RELEASE=PERCENT"),
        (2, ("services", "split", "support", "r1=1e999"), "RELEASE=PERCENT"),
        (1, ("services", "split", "nobody", "r1=100"), "support"),
        (1, ("services", "split", "support", "r99=100"), "r1"),
        (1, ("models", "show", "nothing"), "ops"),
        (1, ("models", "add", "/nowhere.gguf", "--name", "x", "--version", "1.0.0"), "nowhere"),
        (1, ("models", "add", "/etc/passwd", "--name", "x", "--version", "1.0.0"), "GGUF"),
        (
            2,
            ("models", "add", "x.gguf", "--name", "x", "--version", "1.0.0", "--sha256", "00"),
            "64 hexadecimal digits",
        ),
        (1, ("prompts", "add", "/nowhere.toml"), "cannot be read"),
        (1, ("releases", "create", "--model", "nothing@1.0.0"), "nothing"),
        (2, ("releases", "create", "--model", "ops@1.0.0", "--top-p", "7"), "top-p"),
        (2, ("releases", "create"), "--model, --upstream or --server"),
        (2, ("releases", "create", "--upstream", "vllm"), "needs --upstream-model"),
        (1, ("releases", "create", "--server", "serve --port 8000"), "needs {port}"),
        (1, ("releases", "create", "--server", "serve {port} {gpu}"), "no placeholder {gpu}"),
        (1, ("requests", "show", "req_nothing"), "req_nothing"),
        (2, ("runbooks", "undo", "x"), "Invalid value for 'RUN'"),
        (2, ("knobs", "set", "ops-1.0.0", "max_running"), "KNOB=VALUE"),
        (1, ("knobs", "set", "ops-1.0.0", "speed=9"), "speed"),
        (1, ("keys", "revoke", "nobody"), "nobody"),
        (1, ("upstreams", "add", "x", "ftp://box01/v1"), "neither http nor https"),
        (1, ("upstreams", "add", "x", "http://box01:99999"), "Port out of range"),
        (1, ("upstreams", "add", "x", "http://u:pw@box01"), "--key-file"),
        (1, ("upstreams", "add", "x", "http://box01", "--key-file", "/nowhere"), "/nowhere"),
        (1, ("upstreams", "remove", "nobody"), "no upstream nobody"),
        (1, ("intents", "show", "99999"), "no intent 99999"),
    ],
)
def test_errors_are_one_sentence(box: Box, code: int, words: tuple[str, ...], said: str) -> None:
    """What is refused says what is wrong or what there is; never a traceback."""
    assert said in box.bad(code, *words)


def test_terminal_escapes_in_an_argument_never_come_back_raw(box: Box) -> None:
    """What a message repeats is made visible first."""
    assert "\x1b" not in box.bad(1, "models", "show", "\x1b[31mred\x07")


def test_a_key_is_printed_once_and_never_stored(box: Box) -> None:
    """The secret is nowhere in the home: not in the store, its log, or the processes' logs."""
    created = box.json("keys", "create", "--name", "sara", "--role", "client")
    secret = created["secret"].encode()
    files = [path for path in box.home.rglob("*") if path.is_file()]
    assert any(path.name.startswith("paddock.db") for path in files)
    assert [path for path in files if secret in path.read_bytes()] == []
    assert "sara" in box.good("keys", "list")
    assert created["secret"] not in box.good("keys", "show", "sara")
    box.good("keys", "revoke", "sara")
    assert "revoked" in box.good("keys", "list")


def test_an_upstream_is_registered_and_its_key_is_never_shown(box: Box, tmp_path: Path) -> None:
    """The key is in one file that only its owner can read; a refused upstream leaves none."""
    key = tmp_path / "key"
    key.write_text("sk-very-secret-indeed\n")
    url = "http://127.0.0.1:9/v1"
    box.good("upstreams", "add", "cloud", url, "--key-file", str(key), "--metrics-path", "/metrics")
    shown = box.json("upstreams", "show", "cloud")
    assert (shown["url"], shown["has_key"]) == (url, True)
    assert "cloud" in box.good("upstreams", "list")
    holding = [
        path
        for path in box.home.rglob("*")
        if path.is_file() and b"sk-very-secret-indeed" in path.read_bytes()
    ]
    assert [path.parent.name for path in holding] == ["secrets"]
    assert holding[0].stat().st_mode & 0o077 == 0
    again = ("upstreams", "add", "cloud", url, "--key-file", str(key))
    assert "There is an upstream cloud" in box.bad(1, *again)
    assert len(list((box.home / "secrets").glob("[0-9a-f]*"))) == 1
    key.write_text("sk-another-one")
    box.good("upstreams", "rekey", "cloud", "--key-file", str(key))
    (left,) = (box.home / "secrets").glob("[0-9a-f]*")
    assert left.read_text() == "sk-another-one"
    box.good("upstreams", "remove", "cloud")
    assert list((box.home / "secrets").glob("[0-9a-f]*")) == []


def typed(box: Box, answer: str, *words: str) -> int:
    """The exit code of a command whose question is answered at a terminal, without a reason."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PADDOCK, "--home", box.home, *words],
        stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
    ) as asking:  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # nobody holds the terminal any more
            while True:
                if not select.select([ours], [], [], paddock_commands.BOUND_S)[0]:
                    asking.kill()
                    pytest.fail(f"nothing more was shown after {shown!r}")
                shown += os.read(ours, 1000)
                if shown.rstrip().endswith((b"[y/N]", b"to do it:", b"(may be empty):")):
                    os.write(ours, answer.encode() + b"\n")
                    answer, shown = "", b""
    os.close(ours)
    return asking.returncode


def test_what_is_hard_to_reverse_is_confirmed_by_its_name(box: Box) -> None:
    """At a terminal the key's name has to be typed; anything else changes nothing."""
    box.good("keys", "create", "--name", "lee")
    assert typed(box, "y", "keys", "revoke", "lee") == 1
    assert "active" in box.good("keys", "show", "lee")
    assert typed(box, "lee", "keys", "revoke", "lee") == 0
    assert "revoked" in box.good("keys", "show", "lee")


def test_stopping_at_a_terminal_asks_first(box: Box) -> None:
    """Without agreement the node keeps running."""
    assert typed(box, "n", "stop") == 1
    assert "runs, pid" in box.good("status")


def test_knobs_are_set_and_undone(box: Box) -> None:
    """A live setting is changed by intent and put back by another."""
    worker = box.json("releases", "show", "r1")["deployment"]
    listed = [line.split() for line in box.good("knobs", "list").splitlines()]
    assert [worker, "queue_limit", "256", "default"] in listed
    box.good("knobs", "set", worker, "max_running=4")
    box.good("knobs", "set", worker, "max_running=8")
    assert box.json("knobs", "list")[worker]["max_running"] == 8
    for _ in range(2):  # undoing twice changes once
        box.good("knobs", "undo", worker, "max_running")
    assert box.json("knobs", "list")[worker]["max_running"] == 4


def test_paddock_without_a_terminal_prints_the_status(box: Box) -> None:
    """A screen needs a terminal, not a pipe."""
    assert "runs, pid" in box.good()


def test_home_can_be_named_on_the_command_line(box: Box, tmp_path: Path) -> None:
    """--home counts before the environment."""
    elsewhere = Box(tmp_path / "elsewhere", box.port)
    assert "runs, pid" in elsewhere.good("--home", str(box.home), "status")


def test_the_store_of_a_stopped_node_can_be_read(tmp_path: Path) -> None:
    """Status shows the store, says that the node is down and exits with 3; writes are refused."""
    box = Box(tmp_path / "box", home_fixtures.free_port())
    box.good("serve", "--detach")
    assert "was running already" in box.good("serve", "--detach")
    box.good("stop")
    done = box.run("status")
    assert done.returncode == 3
    assert "NODE DOWN" in done.stdout
    assert "paddock serve" in box.bad(3, "keys", "create", "--name", "late")
    assert "paddock serve" in box.bad(3, "stop")
    assert "[gateway]" in (box.home / "config.toml").read_text()
    assert (box.home / "config.toml").stat().st_mode & 0o777 == 0o600


def test_a_store_is_backed_up_beside_the_node_and_restored_without_it(tmp_path: Path) -> None:
    """A healthy one only when that is said; what was stored since is set aside."""
    box = Box(tmp_path / "box", home_fixtures.free_port())
    copy = str(tmp_path / "copy.db")
    box.good("serve", "--detach")
    made = box.json("backup", copy, "--reason", "before the update")
    (told,) = box.json("ledger", "tail", "--noun", "store")
    assert (told["verb"], told["after"], told["reason"]) == (
        "store.backup", copy, "before the update",
    )  # fmt: skip
    assert (made["path"], made["schema"]) == (copy, migrations.newest())
    assert "another name" in box.bad(1, "backup", copy)
    box.good("keys", "create", "--name", "late")
    assert "--replace" in box.bad(1, "restore", copy)
    assert "paddock stop" in box.bad(1, "restore", copy, "--replace")
    box.good("stop")
    done = box.json("restore", copy, "--replace", "--reason", "a key too many")
    assert (done["store"], Path(done["aside"]).exists()) == (made["store"], True)
    assert "late" not in box.good("keys", "list")
    (box.home / "paddock.db").unlink()
    assert "paddock restore" in box.bad(1, "serve", "--detach")
    assert "has the store of" in box.good("restore", copy)
    assert "late" not in box.good("keys", "list")
    box.good("backup", str(tmp_path / "again.db"), "--reason", "with the node down")
    box.good("serve", "--detach")
    try:
        reasons = [each["reason"] for each in box.json("ledger", "tail", "--noun", "store")]
        assert reasons == ["", "with the node down"]
        for odd in ("gone", "fifo", "damaged"):
            _spoil(box.home / "paddock.db", odd)
            said = box.good("status")
            assert "runs, pid" in said
            assert "▲ " in said
            assert "processes " in said
            assert box.json("status")["problems"] != []
        assert "has the store of" in box.good("restore", copy)
        assert "late" not in box.good("keys", "list")
    finally:
        box.run("stop")


def _spoil(store: Path, how: str) -> None:
    """What becomes of a store beside a running node."""
    for path in (store, *homes.beside(store)):
        path.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(store)
    elif how == "damaged":
        store.write_bytes(b"SQLite format 3\0" + b"damaged" * 1000)


@pytest.mark.parametrize("name", ["logs", "run", "node.lock", "logs/node.log"])
def test_what_is_not_the_file_or_directory_that_it_should_be_is_a_sentence(
    tmp_path: Path, name: str
) -> None:
    """With its path and what to do, whichever is odd; nothing hangs."""
    box = Box(tmp_path / "box", home_fixtures.free_port())
    box.home.mkdir(mode=0o700)
    odd = box.home / name
    if name == "logs/node.log":
        odd.parent.mkdir()
        os.mkfifo(odd)
    elif name == "node.lock":
        odd.mkdir()
    else:
        odd.touch()
    said = box.bad(1, "serve", "--detach")
    assert str(odd) in said
    assert "\n" not in said


class _Stranger(BaseHTTPRequestHandler):
    """Another program on the gateway's port, which answers everything with 200."""

    def do_GET(self) -> None:
        """As healthy as can be."""
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


def test_another_program_on_the_port_is_not_taken_for_the_gateway(tmp_path: Path) -> None:
    """Neither `serve --detach` nor the demo says that it runs; both name the port that is taken."""
    with HTTPServer(("127.0.0.1", 0), _Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        box = Box(tmp_path / "box", stranger.server_port)
        assert f"port {stranger.server_port} " in box.bad(1, "serve", "--detach")
        said = box.bad(1, "demo", "--home", str(tmp_path / "demo"), "--headless")
        assert "PADDOCK_GATEWAY__PORT" in said
        assert f"Port {stranger.server_port} " in said
        stranger.shutdown()


def test_an_unreadable_config_names_its_key(tmp_path: Path) -> None:
    """A mistake in config.toml is one sentence, before anything starts."""
    home = tmp_path / "box"
    home.mkdir()
    (home / "config.toml").write_text('[gateway]\nport = "many"\n')
    done = subprocess.run(
        [PADDOCK, "serve", "--detach"],
        env={**os.environ, "PADDOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_loaded_is_proved_beside_the_registry(box: Box) -> None:
    """The worker mapped the file that was verified, with its template and the engine's build."""
    (proof,) = box.json("models", "show", "ops@1.0.0")["loaded"]
    version = box.json("models", "show", "ops@1.0.0")
    assert (proof["weights"], proof["template"]) == (version["sha256"], version["template_sha256"])
    assert (proof["differences"], proof["known"][:17]) == ([], "the verified file")
    assert "llama.cpp" in proof["build"]
    shown = box.good("deployments", "show", "ops-1.0.0")
    assert "as registered" in shown
    assert version["sha256"][:16] in shown
