"""What ships with Paddock, put into a box: the models, their prompts, two releases, one service.

Each step looks before it acts, so that a run that was killed anywhere is taken up where it ended.
It finds the files without importing the engine. Imported by `app.demo.run`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from app import errors, prompt_files, session
from storage import models, prompts, releases, services
from storage.home.paths import Home

SERVICE: Final = "support"
SPLIT: Final = (9_000, 1_000)  # basis points of the two releases, in the order of MODELS
MODELS: Final = (
    # version, file, base
    ("1.0.0", "ops-1.0.0.gguf", None),
    ("1.1.0", "ops-1.1.0-lora.gguf", "ops@1.0.0"),
)
PROMPTS: Final = ("helpful", "concise")
PROMPT: Final = "helpful@1"
QUESTION: Final = (
    "Order 214 travels with Pelican. Order 214 arrives on Monday.\n\nWhen does order 214 arrive?"
)


def file(name: str) -> Path:
    """A file that ships with the engine."""
    spec = importlib.util.find_spec("engine")
    if spec is None or spec.origin is None:
        raise errors.AppError("The engine is not installed beside this command.")
    return Path(spec.origin).parent / "shipped" / name


async def register(home: Home) -> None:
    """The shipped model versions and prompts."""
    async with session.reading() as s:
        known = {model.name: model for model in await models.every(s)}
        prompted = await prompts.named(s)
    for version, name, base in MODELS:
        await _model(home, version, file(name), base, known.get(f"ops@{version}"))
    for name in PROMPTS:
        if name not in prompted:
            read = prompt_files.read(file(f"{name}.toml"), name)
            await session.do("prompts.add", name, {"comment": "shipped with Paddock", **read})


async def _model(
    home: Home, version: str, path: Path, base: str | None, known: models.ModelVersion | None
) -> None:
    name = f"ops@{version}"
    if known is not None:
        if known.sha256 == await asyncio.to_thread(_sha256, path):
            return
        raise errors.AppError(
            f"{home.root} holds another {name} than this Paddock ships; move that directory away, "
            "or give the demo another one: `paddock demo --home DIR`."
        )
    arguments: dict[str, object] = {"model": "ops", "version": version, "path": str(path)}
    if base is not None:
        arguments |= {"base": base, "kind": models.Kind.ADAPTER.value}
    await session.do("models.add", name, arguments)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def serve() -> None:
    """One service whose traffic is split between a release of each version."""
    names = [await _release(f"ops@{version}") for version, _, _ in MODELS]
    async with session.reading() as s:
        service = next((each for each in await services.every(s) if each.name == SERVICE), None)
    if service is None:
        await session.do("services.create", SERVICE, {"release": names[0], "record_text": True})
        async with session.reading() as s:
            service = await services.find(s, SERVICE)
    if sum(arm.weight_bp > 0 for arm in service.split.arms) < len(SPLIT):
        arms = dict(zip(names, SPLIT, strict=True))
        await session.do(
            "services.split", SERVICE, {"arms": arms}, expected_version=service.version
        )


async def _release(model: str) -> str:
    """The release of a shipped version; the same content is the same release."""
    arguments: dict[str, object] = {
        "model": model,
        "prompt": PROMPT,
        "sampling": {"temperature": 0.0},
        "limits": {"max_tokens": 64},
        "engine": {},
        "comment": "shipped with Paddock",
    }
    await session.do("releases.create", model, arguments)
    async with session.reading() as s:
        version = await models.find(s, model)
        prompt = await prompts.find(s, PROMPT)
        ours = [
            release
            for release in await releases.every(s)
            if (release.model_version_id, release.prompt_version_id) == (version.id, prompt.id)
            and release.sampling.temperature == 0
        ]
    return min(ours, key=lambda release: release.number).name
