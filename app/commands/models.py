"""`paddock models`: register weights and adapters, look at what is registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import session, terminal, words
from app.commands import options
from storage import models

app = options.group()


@app.command()
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A GGUF file of this box.")],
    name: Annotated[str, typer.Option("--name", help="The model's name.")],
    version: Annotated[str, typer.Option("--version", help="MAJOR.MINOR.PATCH")],
    base: Annotated[
        str | None, typer.Option("--base", help="For an adapter: the version it stands on.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Its licence.")] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Register a model version: weights, or with --base an adapter."""
    arguments: dict[str, object] = {
        "model": name,
        "version": version,
        "path": str(path.absolute()),
    }
    if base is not None:
        arguments |= {"base": base, "kind": models.Kind.ADAPTER.value}
    if licence is not None:
        arguments["licence"] = licence
    done = terminal.run(session.ask("models.add", f"{name}@{version}", arguments, reason=reason))
    session.tell(done, as_json=as_json)


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """All model versions."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        known = await models.every(s)
    names = {version.id: version.name for version in known}
    rows = [("MODEL", "KIND", "ON", "SIZE", "PARAMETERS", "QUANT", "CONTEXT", "STANDING")]
    rows += [
        (
            version.name,
            version.kind.value,
            names.get(version.base_id or 0, words.UNKNOWN),
            words.size(version.size_bytes),
            words.count(version.parameters),
            version.quantisation,
            words.count(version.context_tokens) if version.context_tokens else words.UNKNOWN,
            version.standing.value,
        )
        for version in known
    ]
    terminal.show(known, words.table(rows, right=(3, 4, 6)), as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ops@1.0.0, or ops for the newest.")],
    as_json: options.Json = False,
) -> None:
    """One model version in full."""
    terminal.run(_show(name, as_json=as_json))


async def _show(name: str, *, as_json: bool) -> None:
    async with session.reading() as s:
        version = await models.find(s, name)
        base = None if version.base_id is None else await models.get(s, version.base_id)
    lines = words.table(
        [
            ("name", version.name),
            ("kind", version.kind.value + (f" on {base.name}" if base else "")),
            ("standing", version.standing.value),
            ("reason", version.standing_reason or words.UNKNOWN),
            ("file", version.path),
            ("sha256", version.sha256),
            ("size", words.size(version.size_bytes)),
            ("architecture", version.architecture),
            ("parameters", words.count(version.parameters)),
            ("quantisation", version.quantisation),
            ("context", f"{words.count(version.context_tokens)} tokens"),
            ("licence", version.licence or words.UNKNOWN),
            ("registered", f"{words.clock(version.created_at_us)} by {version.created_by}"),
        ]
    )
    terminal.show(version, lines, as_json=as_json)
