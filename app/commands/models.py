"""`paddock models`: the registered weights and adapters, as a list and one by one."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from app import listing, model_registry, model_views, moments, session, terminal, words
from app.commands import model_aliases, model_files, model_lineage, options, unused_models
from app.listing import Column
from app.model_registry import Registry
from storage.models import ModelVersion, Status

app = options.group()

Removed = Annotated[bool, typer.Option("--removed", help="Removed versions, too.")]


@app.command("list")
async def every(
    removed: Removed = False, at: options.At = None, as_json: options.Json = False
) -> None:
    """List the model versions. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        registry = await model_registry.read(s, at_us)
    known = [each for each in registry.versions if removed or each.status is not Status.REMOVED]
    document = [
        {
            **msgspec.to_builtins(version),
            "name": version.name,
            "aliases": registry.aliases.get(version.id, ()),
        }
        for version in known
    ]
    listing.show(
        _columns(registry),
        known,
        as_json=as_json,
        document=document,
        empty="No models yet.",
    )


def _columns(registry: Registry) -> tuple[Column[ModelVersion], ...]:
    names = registry.names
    return (
        Column("MODEL", lambda version: version.name),
        Column("ALIASES", lambda version: model_views.aliases(registry, version)),
        Column("KIND", lambda version: version.kind.value),
        Column("BASE", lambda version: words.known(names.get(version.base_id or 0))),
        Column("SIZE", lambda version: words.size(version.size_bytes), right=True),
        Column("PARAMETERS", lambda version: words.count(version.parameters), right=True),
        Column("QUANT", lambda version: version.quantisation),
        Column("CONTEXT", lambda version: words.count(version.context_tokens or None), right=True),
        Column("CHAT", model_views.chats),
        Column("STATUS", lambda version: version.status.value),
    )


@app.command()
async def show(name: options.Model, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a model version: its file, checks, lineage and uses.

    With --at the lineage, the path of the file and the checks are the current ones, because earlier
    ones are not recorded; what was in memory is left out.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        version = await model_registry.version(s, name, at_us)
        registry = await model_registry.read(s, at_us)
    base = registry.by_id(version.base_id)
    parent = registry.by_id(version.parent_id)
    adapters = [each.name for each in registry.versions if each.base_id == version.id]
    serving = registry.serving(version)
    chat = version.checks.chat
    rows = [
        ("name", version.name),
        ("aliases", words.known(", ".join(registry.aliases.get(version.id, ())))),
        ("kind", version.kind.value + (f" on {base.name}" if base else "")),
        ("status", version.status.value),
        ("reason", words.known(version.status_reason)),
        ("file", model_views.file(version)),
        ("source", version.source or "local file"),
        ("sha256", version.sha256),
        ("size", words.size(version.size_bytes)),
        ("architecture", version.architecture),
        ("parameters", words.count(version.parameters)),
        ("quantisation", version.quantisation),
        ("context", f"{words.count(version.context_tokens)} tokens"),
        ("memory", model_views.memory(version)),
        ("KV cache", model_views.kv_cache(version)),
        ("licence", words.known(version.licence)),
        ("parent", words.known(None if parent is None else parent.name)),
        ("dataset", words.known(version.dataset)),
        ("run", words.known(version.run)),
        ("task", model_views.task(version)),
        ("chat", model_views.chats(version)),
        ("chat template", registry.template(version)),
        ("system message", model_views.system_message(chat)),
        ("tools", model_views.tools(chat)),
        ("reasoning", model_views.reasoning(chat)),
        ("checked", model_views.fault(version) or "no fault"),
        ("adapters", words.known(", ".join(adapters))),
        ("releases", words.known(", ".join(each.name for each in registry.using(version)))),
        ("services", words.known(", ".join(serving))),
        ("registered", f"{words.clock(version.created_at_us)} by {version.created_by}"),
    ]
    lines = words.table(rows)
    if version.parts:
        lines += ["", "parts", *model_views.part_lines(version)]
    if proofs := registry.proofs(version):
        lines += ["", "in memory", *model_views.proof_lines(registry, proofs)]
    if len(family := model_views.tree(registry, version)) > 1:
        lines += ["", "lineage", *family]
    shown = {
        **msgspec.to_builtins(version),
        "name": version.name,
        "aliases": registry.aliases.get(version.id, ()),
        "base": None if base is None else base.name,
        "parent": None if parent is None else parent.name,
        "adapters": adapters,
        "releases": [release.name for release in registry.using(version)],
        "services": serving,
        "loaded": proofs,
    }
    terminal.show(shown, lines, as_json=as_json)


app.take(model_files.app, model_lineage.app, model_aliases.app, unused_models.app)
