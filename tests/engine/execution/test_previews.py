"""Previews of prompts: rendered as a request would be, counted by a loaded model, not recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.backends.protocol import Backend, Run
from engine.execution import failures
from engine.execution.execute import Executor
from engine.execution.job import Chat, Job, Score, Scored, Text, Tokens, Vocabulary
from engine.execution.previews import Previews
from engine.execution.snapshot import Snapshot
from storage import prompts
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.releases import Release
from storage.requests import Request
from storage.services import Arm, Service, Split
from storage.store import Session, Store
from tests.engine.execution import jobs


class Answering:
    """A backend without a vocabulary."""

    def run(self, _: Job) -> Run:
        """Never."""
        raise NotImplementedError

    async def score(self, _: Score) -> Scored:
        """Never."""
        raise NotImplementedError

    def unready(self, _: Release) -> str | None:
        """Never."""
        return None

    def scores(self, _: Release) -> bool:
        """Never."""
        return False


class Counting(Answering):
    """A backend whose tokens are words."""

    async def rendered(self, _: Release, __: Chat, ___: float) -> str:
        """Never."""
        raise NotImplementedError

    async def tokens(
        self, _: Release, input: Chat | Text, __: float, *, bos: bool, special: bool | None
    ) -> Tokens:
        """One token a word."""
        assert isinstance(input, Chat)
        assert (bos, special) == (True, False)
        words = [word for message in input.messages for word in message.content.split()]
        return Tokens(tuple(range(len(words))), tuple(word.encode() for word in words), 512)

    async def described(self, _: Release, __: float) -> Vocabulary:
        """Never."""
        raise NotImplementedError

    async def spelled(self, _: Release, __: Sequence[int], ___: float) -> Tokens:
        """Never."""
        raise NotImplementedError


class Bench:
    """Previews over a store, with what a test changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.snapshot = Snapshot()
        self.rows: list[Request] = []
        self.backends: dict[str, Backend] = {"local": Counting()}
        executor = Executor(
            self.backends,
            record=lambda request, _: self.rows.append(request),
            gaps=lambda *_: [],
            now_us=clock.monotonic_us,
        )
        self.previews = Previews(store, executor, lambda: self.snapshot)

    def load(self, release: Release) -> None:
        """A service serves the release."""
        arm = Arm(release=release.number, weight_bp=10_000)
        split = Split(
            id=1, service="support", salt="s", arms=(arm,), set_at_us=1, set_by="k", intent_id=None
        )
        service = Service(
            name="support", split=split, record_text=False, version=1, created_at_us=1,
            created_by="k",
        )  # fmt: skip
        self.snapshot = Snapshot(services={"support": service}, releases={release.number: release})

    async def prompt(self, template: str) -> int:
        """The id of a version with one system message and a variable `tone`."""

        async def work(s: Session) -> int:
            added = await prompts.add(
                s,
                prompt="terse",
                messages=[prompts.Message(role="system", template=template)],
                variables=[prompts.Variable(name="tone", required=True)],
                author="sara",
                comment="",
                at_us=1,
            )
            return added.id

        return await self.store.write(work)


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """On a new store."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    made = Bench(store)
    yield made
    await made.previews.close()
    await store.close()


async def test_a_preview_has_the_messages_and_their_tokens(bench: Bench) -> None:
    """The client's text comes after the prompt's; nothing is recorded as a request."""
    id = await bench.prompt("Be very {{ tone }}.")
    bench.load(jobs.release())
    found = await bench.previews.preview(id, {"tone": "kind"}, None, "Hello there.")
    said = [(message.role, message.content) for message in found.messages]
    assert said == [("system", "Be very kind."), ("user", "Hello there.")]
    assert (found.tokens, found.model, found.why) == (5, "ops-1.0.0", "")
    assert bench.rows == []


async def test_without_a_count_it_says_what_is_missing(bench: Bench) -> None:
    """The messages are still returned."""
    id = await bench.prompt("Be {{ tone }}.")
    asked: Mapping[str, Any] = {"tone": "kind"}
    found = await bench.previews.preview(id, asked, None, None)
    assert (len(found.messages), found.tokens, found.why) == (1, None, "no model is loaded")
    bench.load(jobs.release())
    found = await bench.previews.preview(id, asked, "ops@9.0.0", None)
    assert found.why == "no service has ops@9.0.0 loaded; loaded are: ops-1.0.0"
    bench.backends["local"] = Answering()
    found = await bench.previews.preview(id, asked, None, None)
    assert "answered by a server of its own, which tokenises" in found.why


ENDLESS = "\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "variables", "said"),
    [
        ("{{ tone }}", {}, "prompt terse@1 needs the variable 'tone' (string)"),
        ("{{ tone }}", {"tone": 3}, "variable 'tone' of prompt terse@1 is of type string, not int"),
        ("{{ tone }}", {"a": "b"}, "prompt terse@1 has no variable 'a'; it takes: tone"),
        ("\n{{ 1 / 0 }}", {"tone": ""}, "prompt terse@1, message 1 (system), line 2: "),
        (ENDLESS, {"tone": ""}, "prompt terse@1, message 1 (system), line 2: "),
        ("{{ ''.__class__ }}", {"tone": ""}, "prompt terse@1, message 1 (system), line 1: "),
    ],
)
async def test_what_cannot_be_rendered_says_where(
    bench: Bench, template: str, variables: dict[str, object], said: str
) -> None:
    """The prompt, its version, and the variable, or the message and the line."""
    id = await bench.prompt(template)
    with pytest.raises((failures.Invalid, failures.Broken)) as caught:
        await bench.previews.preview(id, variables, None, None)
    assert said in caught.value.message


async def test_a_version_that_is_not_there_is_unknown(bench: Bench) -> None:
    """By its id; the command finds it by name before."""
    with pytest.raises(failures.Unknown, match="no prompt version with id 7"):
        await bench.previews.preview(7, {}, None, None)
