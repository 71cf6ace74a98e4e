"""Tenants that ask for more than the box can compute."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, post

SAME: Final = "ops"
ADAPTED: Final = "concise"
"""The service whose release is an adapter on the weights of the other service's."""
PROMPT: Final = "Order 214 travels with Pelican. Order 214 arrives on Monday. When does it arrive?"


async def _flood(target: Target, clients: int, document: dict[str, Any]) -> str:
    request = post(target, document)

    async def one(_: int) -> str:
        status = await attack.answered(target, request)
        if status in {429, 503}:
            await asyncio.sleep(0.5)
        return str(status)

    return await attack.again(one, clients=clients, pause_s=0)


@attack.attack
async def a_flood_on_the_same_release(target: Target) -> str:
    """Fifty clients of one tenant."""
    return await _flood(target, 50, {"model": SAME, "prompt": PROMPT, "max_tokens": 48})


@attack.attack
async def a_flood_on_the_other_adapter(target: Target) -> str:
    """Fifty clients of one tenant on another adapter of the same weights."""
    return await _flood(target, 50, {"model": ADAPTED, "prompt": PROMPT, "max_tokens": 48})


@attack.attack
async def a_larger_flood_on_the_other_adapter(target: Target) -> str:
    """Two hundred clients of one tenant on another adapter of the same weights."""
    return await _flood(target, 200, {"model": ADAPTED, "prompt": PROMPT, "max_tokens": 48})


@attack.attack
async def a_flood_of_long_prompts(target: Target) -> str:
    """Prompts that fill the context, for one token."""
    return await _flood(target, 50, {"model": SAME, "prompt": PROMPT * 20, "max_tokens": 1})


@attack.attack
async def a_flood_of_choices(target: Target) -> str:
    """Sixteen choices a request."""
    return await _flood(target, 20, {"model": SAME, "prompt": PROMPT, "max_tokens": 48, "n": 16})
