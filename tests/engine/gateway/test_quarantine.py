"""A template that kills what renders it is not run again, by this gateway or by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.execution.catalog import Catalog
from engine.gateway import quarantine as gateway
from engine.prompting.chat_template import ChatTemplate
from engine.prompting.prompt_template import BrokenPrompt
from engine.prompting.renderer.child import Limits
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource
from storage import errors, ledger, prompts, quarantine
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.prompts import Message, PromptVersion
from storage.quarantine import Kind
from storage.store import Session, Store
from tests.storage import fixtures

QUICK = Limits(render_s=0.1, compile_s=0.4, slack_s=0.1)
UNSTOPPABLE = (
    "{% set a=namespace(s=(1,)) %}{% for i in range(60) %}{% set a.s = (a.s,a.s) %}{% endfor %}"
    "{{ {a.s: 1} | length }}"
)


class Gateway:
    """The parts of a gateway that concern templates."""

    def __init__(self, store: Store) -> None:
        self.renderer = Renderer(
            limits=QUICK, on_quarantine=lambda t, why: self.found.note(t, why, 7)
        )
        self.catalog = Catalog(
            store,
            self.renderer,
            on_change=lambda snapshot: self.renderer.follow(gateway.stored(snapshot)),
        )
        self.found = gateway.Quarantine(store, lambda: self.catalog.snapshot)

    async def render(self, version: PromptVersion) -> str:
        """How the prompt fails, and store what follows."""
        with pytest.raises(BrokenPrompt) as caught:
            await self.catalog.snapshot.prompts[version.id].render({})
        await self.found.write()
        return str(caught.value)


async def test_a_restart_does_not_run_a_killing_template_until_that_is_lifted(
    tmp_path: Path,
) -> None:
    """The reason is the same; once it is lifted it is tried again, and found again."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    weights = (await fixtures.furnish(store)).weights
    version = await store.write(_bomb)
    await store.write(lambda s: fixtures.release(s, weights, prompt_version=version))
    try:
        first = Gateway(store)
        await first.catalog.refresh()
        said = await first.render(version)
        assert "more than 0.5 s of processor time" in said
        await first.renderer.close()

        second = Gateway(store)
        await second.catalog.refresh()
        assert await second.render(version) == said
        assert second.renderer._children == set()
        assert "processor time" in (second.catalog.snapshot.prompts[version.id].fault or "")
        async with store.read() as s:
            (kept,) = await quarantine.of(s, Kind.PROMPT, version.name)
        assert (kept.reason, kept.at_us) == (said.partition(": ")[2], 7)

        await store.write(lambda s: quarantine.lift(s, version.name, actor="kim", at_us=8))
        await second.catalog.look()
        assert second.catalog.snapshot.prompts[version.id].fault is None
        assert await second.render(version) == said
        assert second.renderer._children
        await second.renderer.close()
        async with store.read() as s:
            assert len(await quarantine.every(s)) == 1
            verbs = [each.verb for each in await ledger.of(s, "quarantine", version.name)]
        assert verbs == ["quarantine.add", "quarantine.lift", "quarantine.add"]
    finally:
        await store.close()


async def test_a_models_template_is_kept_under_the_name_of_its_version(tmp_path: Path) -> None:
    """Found by the file that the worker has loaded; what is not quarantined cannot be lifted."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    try:
        weights = (await fixtures.furnish(store)).weights
        one = Gateway(store)
        await one.catalog.refresh()
        template = ChatTemplate(ChatSource(UNSTOPPABLE, (), "", ""), one.renderer, weights.sha256)
        await template.prepare()
        assert template.fault is not None
        await one.found.write()
        await one.renderer.close()
        async with store.read() as s:
            (kept,) = await quarantine.of(s, Kind.MODEL, weights.name)
        assert "processor time" in kept.reason
        with pytest.raises(errors.NotFound, match="quarantine list"):
            await store.write(lambda s: quarantine.lift(s, "none@1", actor="kim", at_us=8))
    finally:
        await store.close()


async def _bomb(s: Session) -> PromptVersion:
    return await prompts.add(
        s, prompt="bomb", messages=[Message(role="system", template=UNSTOPPABLE)],
        variables=(), author="kim", comment="", at_us=1,
    )  # fmt: skip
