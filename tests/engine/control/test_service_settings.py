"""What a service is set to reaches the jobs that are planned for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.execution import plan
from engine.execution.job import Options, Text
from storage import keys, ledger, releases, rollouts, service_rows, services
from storage.intents import State
from tests.engine.control.desks import Desk, desk


async def test_a_service_keeps_its_tenants_apart_in_the_prefix_cache_if_it_asks(
    tmp_path: Path,
) -> None:
    """From then on the jobs of each tenant have a scope; before that, one for everybody."""
    async with desk(tmp_path / "home", furnished=True) as control:
        await _scopes(control)


async def _scopes(control: Desk) -> None:
    key = keys.Key(
        id=1, name="k", prefix="pk-x", tenant="acme", role=keys.Role.CLIENT, synthetic=False,
        created_at_us=0, created_by="t", revoked_at_us=None,
    )  # fmt: skip

    async def scope() -> str:
        async with control.store.read() as s:
            service = await services.find(s, "support")
            (release, *_) = await releases.every(s)
        job = plan.job(
            id="req_1", at_us=0, arrived_us=0, endpoint="test", service=service, release=release,
            key=key, input=Text(("x",)), options=Options(), new_seed=1,
        )  # fmt: skip
        return job.cache_scope

    assert await scope() == ""
    asked = await control.do("services.set", "support", prefix_cache="tenant")
    assert asked.outcome == "support: cached prompts are kept apart by tenant from now on."
    assert await scope() == "tenant:acme"
    again = await control.do("services.set", "support", prefix_cache="tenant")
    assert "no change" in (again.outcome or "")


async def test_the_key_of_a_service_signs_what_its_rollouts_send(tmp_path: Path) -> None:
    """Also those that a manifest starts; a rollout's own key wins. It can be removed."""
    own, other = "a" * 32, "b" * 32
    async with desk(tmp_path / "home", furnished=True) as control:
        done = await control.do("services.set", "support", webhook_secret=own)
        assert (done.outcome or "").endswith("are signed by the key that was given from now on.")

        async def key_of(**asked: Any) -> str | None:
            started = await control.do("rollouts.start", "support", release="r2", **asked)
            assert started.state is State.APPLIED, started.outcome
            async with control.store.read() as s:
                found = await rollouts.latest(s, "support")
            assert found is not None
            await control.do("rollouts.abort", "support", rollout=found.id)
            return found.webhook_secret

        assert await key_of() == own
        assert await key_of(webhook_secret=other) == other
        async with control.store.read() as s:
            assert await service_rows.secrets(s) == {own}
            told = [each.after for each in await ledger.of(s, "service", "support", limit=20)]
        assert {"webhooks_signed": True} in told
        assert own not in str(told)
        for said in ("from now on.", "no change."):
            done = await control.do("services.set", "support", webhook_secret="")
            assert (done.outcome or "").startswith("support: messages of rollouts are not signed")
            assert (done.outcome or "").endswith(said)
        assert await key_of() is None
        async with control.store.read() as s:
            assert await service_rows.secrets(s) == set()
