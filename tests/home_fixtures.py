"""A box for a test or the bench: its records, its keys, a free port.

What is put into the store here is what the control socket would have put there. Starts no process.
"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import keys, models, releases, services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.keys import Role
from storage.models import Kind, ModelVersion
from storage.releases import Engine, Limits, Sampling

SHIPPED: Final = Path(__file__).parents[1] / "engine" / "shipped"
WEIGHTS: Final = SHIPPED / "ops-1.0.0.gguf"
ADAPTER: Final = SHIPPED / "ops-1.1.0-lora.gguf"


@dataclass(frozen=True, slots=True)
class Box:
    """A furnished home: the service that answers, and the key that may ask it."""

    home: Home
    service: str
    secret: str


def free_port() -> int:
    """A free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def add_model(
    s: AsyncSession, path: Path, version: str = "1.0.0", base: ModelVersion | None = None
) -> ModelVersion:
    """Register a file in place; with a base it is an adapter."""
    return await models.add(
        s,
        model="ops",
        version=version,
        kind=Kind.WEIGHTS if base is None else Kind.ADAPTER,
        base_id=None if base is None else base.id,
        path=str(path),
        sha256=digest(path),
        size_bytes=path.stat().st_size,
        mtime_ns=path.stat().st_mtime_ns,
        architecture="llama",
        parameters=2_000_000,
        quantisation="Q8_0",
        context_tokens=2048,
        licence="Apache-2.0",
        actor="t",
        at_us=1,
    )


async def add_key(
    s: AsyncSession,
    name: str,
    role: Role = Role.CLIENT,
    *,
    tenant: str = "here",
    synthetic: bool = False,
) -> str:
    """Mint a key and add it; its secret."""
    minted = keys.mint()
    await keys.add(
        s,
        name=name,
        prefix=minted.prefix,
        mac=await keys.seal(s, minted.sha256),
        role=role,
        tenant=tenant,
        synthetic=synthetic,
        actor="t",
        at_us=5,
    )
    return minted.secret


async def furnish(root: Path, *, weights: Path, engine: Engine) -> Box:
    """A home with one model, one release of it and one service that records no texts."""
    home = homes.make(Home(root))
    store = await stores.open(home)

    async def work(s: AsyncSession) -> str:
        model = await add_model(s, weights)
        release = await releases.create(
            s,
            model_version=model,
            base=None,
            prompt_version=None,
            sampling=Sampling(temperature=0.0),
            limits=Limits(),
            engine=engine,
            comment="",
            actor="t",
            at_us=2,
        )
        await services.create(
            s, name="ops", release=release.number, record_text=False, actor="t", at_us=3
        )
        return await add_key(s, "client")

    try:
        secret = await store.write(work)
    finally:
        await store.close()
    return Box(home, "ops", secret)
