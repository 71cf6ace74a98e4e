"""Upstreams as people register them, and the releases that name them or start a server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.control import upstreams as control
from storage import errors, intents, releases
from storage import store as stores
from storage.control_socket import verbs
from storage.home import paths as homes
from storage.home import secrets
from storage.home.paths import Home
from storage.intents import State
from tests.engine.control.desks import Desk

URL = "http://127.0.0.1:9/v1"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A store, and a control that works on request."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    yield Desk(store)
    await store.close()


async def applied(desk: Desk, verb: str, target: str, **asked: Any) -> str:
    """Have something done; the outcome's sentence."""
    intent = await desk.do(verb, target, **asked)
    assert intent.state is State.APPLIED, intent.outcome
    return intent.outcome or ""


async def refused(desk: Desk, verb: str, target: str, **asked: Any) -> str:
    """Have something refused; the outcome's sentence."""
    intent = await desk.do(verb, target, **asked)
    assert intent.state is State.REFUSED, intent.outcome
    return intent.outcome or ""


async def test_a_release_names_a_registered_upstream(desk: Desk) -> None:
    """One that is not registered is refused with the names there are; a service needs no model."""
    await applied(desk, "upstreams.add", "vllm", url=URL)
    wanted = {"name": "vllm", "model": "llama-8b"}
    assert "llama-8b on upstream vllm" in await applied(
        desk, "releases.create", "vllm", upstream=wanted
    )
    unknown = wanted | {"name": "sglang"}
    said = await refused(desk, "releases.create", "sglang", upstream=unknown)
    assert said == "There is no upstream sglang; known: vllm."
    await applied(desk, "services.create", "support", release="r1")
    async with desk.store.read() as s:
        release = await releases.get(s, 1)
    assert (release.backend, release.deployment) == ("upstream", "vllm")
    assert release.model_version_id is None


async def test_an_upstream_stays_while_a_split_needs_it(desk: Desk) -> None:
    """The message says which; an arm without weight needs it, too, because it may get some."""
    await applied(desk, "upstreams.add", "vllm", url=URL)
    for model in ("a", "b"):
        named = {"name": "vllm", "model": model}
        await applied(desk, "releases.create", "vllm", upstream=named)
    await applied(desk, "services.create", "support", release="r1")
    said = await refused(desk, "upstreams.remove", "vllm")
    assert "needed by r1 in service support" in said
    server = {"command": ["serve", "--port", "{port}"], "model": "m"}
    await applied(desk, "releases.create", "m", server=server)
    await applied(desk, "services.split", "support", arms={"r3": 10_000, "r2": 0})
    assert "needed by r2 in service support" in await refused(desk, "upstreams.remove", "vllm")
    await applied(desk, "services.split", "support", arms={"r3": 10_000})
    assert await applied(desk, "upstreams.remove", "vllm") == f"Removed upstream vllm ({URL})."


async def test_a_supervised_server_takes_an_admin(desk: Desk) -> None:
    """Its command runs as the node's user, which an operator of the box need not be."""
    server = {"command": ["serve", "--port", "{port}"], "model": "m"}
    desk.role = "operator"
    assert "takes the role admin" in await refused(desk, "releases.create", "m", server=server)
    desk.role = "admin"
    assert "m on a supervised server" in await applied(desk, "releases.create", "m", server=server)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"command": ["vllm", "serve"]}, "needs {port}"),
        ({"command": ["vllm", "{port}", "{gpus}"]}, "no placeholder {gpus}; known: "),
        ({"command": []}, "length >= 1"),
        ({"command": ["vllm", "{port}"], "devices": [0, 0]}, "a device is named twice"),
        ({"command": ["vllm", "{port}"], "health_path": "health"}, "health_path"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(server: dict[str, Any], said: str) -> None:
    """When the release is asked for, with the field and what is known; not when it is needed."""
    with pytest.raises(errors.BadArguments, match=re.escape(said)):
        verbs.parse("releases.create", {"server": {"model": "m", **server}})


async def test_a_template_that_names_weights_takes_a_model(desk: Desk) -> None:
    """Without one there would be no file to put in."""
    server = {"command": ["vllm", "{port}", "{weights}"], "model": "m"}
    assert "name a model version" in await refused(desk, "releases.create", "m", server=server)


async def test_the_key_is_in_no_intent_and_no_ledger(desk: Desk) -> None:
    """What control gets is a reference; keys that nothing refers to are swept after a day."""
    home = desk.store.home
    used, _ = secrets.deposit(home, "sk-used"), secrets.deposit(home, "sk-stale")
    await applied(desk, "upstreams.add", "cloud", url=URL, secret=used)
    await control.sweep(home, desk.store, lambda: 1_000_000)
    await control.sweep(home, desk.store, lambda: (secrets.KEPT_S + 1) * 1_000_000)
    assert [path.name for path in home.secrets.glob("[0-9a-f]" * 32)] == [used]
    async with desk.store.read() as s:
        told = str(await intents.tail(s))
    assert "sk-used" not in told
    assert used in told
