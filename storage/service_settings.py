"""What a service has beside its split: texts, labels that it follows, a policy, a staging.

Imported by `storage.services`, through which every package sets them.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, ledger, rollout_policies, service_rows
from storage.rollout_policies import Policy
from storage.rollout_steps import OnLabel
from storage.service_rows import PrefixCache, ServiceRow


async def set_record_text(
    s: AsyncSession, *, service: str, on: bool, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Record the texts of requests from now on, or no longer."""
    await _set_column(s, service, "record_text", on, actor, at_us, intent_id)


async def set_on_label(
    s: AsyncSession, *, service: str, to: OnLabel, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Follow labels at once, or by rollouts, from now on."""
    await _set_column(s, service, "on_label", to.value, actor, at_us, intent_id)


async def set_rollout_policy(
    s: AsyncSession,
    *,
    service: str,
    to: Policy | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    """Lead the releases of its manifest to the traffic by such rollouts, or with None at once."""
    kept = rollout_policies.encode(to)
    await _set_column(s, service, "rollout_policy", kept, actor, at_us, intent_id)


async def set_prefix_cache(
    s: AsyncSession,
    *,
    service: str,
    to: PrefixCache,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    """Share what is cached of prompts between tenants from now on, or keep them apart."""
    await _set_column(s, service, "prefix_cache", to.value, actor, at_us, intent_id)


async def set_webhook_secret(
    s: AsyncSession,
    *,
    service: str,
    to: str | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    """Sign the messages of later rollouts by this deposited key; the ledger has no reference."""
    row = await s.get_one(ServiceRow, (await service_rows.find(s, service)).name)
    before, row.webhook_secret = row.webhook_secret, to
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.set", noun="service", key=service,
        before={"webhooks_signed": before is not None}, after={"webhooks_signed": to is not None},
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def set_staging_of(
    s: AsyncSession, *, service: str, of: str | None, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Make a service the staging of another one, or with None a production service.

    Raises:
        NotFound: there is no such service. Invalid: that one is a staging itself, or this one has
            one.
    """
    await service_rows.find(s, service)
    await check_staging(s, service, of)
    await _set_column(s, service, "staging_of", of, actor, at_us, intent_id)


async def _set_column(
    s: AsyncSession,
    service: str,
    name: str,
    value: bool | str | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    """Change one column of a service that is not about its split.

    Raises:
        NotFound: there is no such service.
    """
    await service_rows.find(s, service)
    row = await s.get_one(ServiceRow, service)
    before = getattr(row, name)
    setattr(row, name, value)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.set", noun="service", key=service, before={name: before},
        after={name: value}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def check_staging(s: AsyncSession, name: str, of: str | None) -> None:
    """Invalid unless one service may be the staging of another; NotFound if that is missing."""
    if of is None:
        return
    if of == name:
        raise errors.Invalid(f"{name} cannot be the staging of itself.")
    if (other := (await service_rows.find(s, of)).staging_of) is not None:
        raise errors.Invalid(f"{of} is the staging of {other}; name that one.")
    if own := [each.name for each in await service_rows.every(s) if each.staging_of == name]:
        raise errors.Invalid(f"{name} has a staging, {own[0]}; it cannot be one.")
