"""What a service is set to reaches the jobs that are planned for it."""

from __future__ import annotations

from pathlib import Path

from engine.execution import plan
from engine.execution.job import Options, Text
from storage import keys, releases, services
from tests.engine.control.test_intents import Desk, desk


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
