"""`paddock models`: register weights and adapters, name them, trace them, look at them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import actions, errors, listing, model_views, moments, session, terminal, words
from app.commands import model_aliases, options, unused_models
from app.listing import Column
from app.model_views import Registry
from storage import errors as storage_errors
from storage import model_lineage, models
from storage.home import secrets
from storage.models import ModelVersion, Status
from storage.past import models as past_models
from storage.store import Session

app = options.group()

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="ops@1.0.0, ops@champion, or ops for the highest version."),
]
Parent = Annotated[str | None, typer.Option("--parent", help="The version that it was made from.")]
Dataset = Annotated[
    str | None, typer.Option("--dataset", help="The dataset version that it was trained on.")
]
Removed = Annotated[bool, typer.Option("--removed", help="Removed versions, too.")]
Run = Annotated[str | None, typer.Option("--run", help="The training run that made it.")]

_SHA256: Final = re.compile("[0-9a-f]{64}")
_SOON_S: Final = 0.5
"""What is done by then needs no progress bar."""


@app.command()
async def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A GGUF file: a path, https://…, hf://owner/repository/file.gguf@revision, "
            "mlflow:models:/name/3, or an address that fsspec knows (s3://…). Of a split model "
            "any part: name-00001-of-00003.gguf.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="The model's name.")],
    version: Annotated[
        str, typer.Option("--version", help="A semantic version: MAJOR.MINOR.PATCH, as in 1.0.0.")
    ],
    base: Annotated[
        str | None, typer.Option("--base", help="For an adapter: the version it belongs on.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Its licence.")] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256",
            help="The SHA-256 that the file must have; of a split model, what "
            "`sha256sum NAME-*.gguf | cut -c -64 | sha256sum` prints.",
        ),
    ] = None,
    parent: Parent = None,
    dataset: Dataset = None,
    run: Run = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Register a model version: weights, or with --base an adapter.

    A job fetches, checks and hashes the file. ^C stops watching, not the job.
    """
    models.check_version(version)
    path, query = _address(source)
    arguments: dict[str, object] = {"model": name, "version": version, "path": path}
    if base is not None:
        arguments |= {"base": base, "kind": models.Kind.ADAPTER.value}
    if licence is not None:
        arguments["licence"] = licence
    arguments |= _lineage(parent, dataset, run)
    if sha256 is not None:
        if not _SHA256.fullmatch(sha256.lower()):
            raise errors.BadWord("--sha256 takes 64 hexadecimal digits, as `sha256sum` prints.")
        arguments["sha256"] = sha256.lower()
    wanted = actions.Wanted(target=f"{name}@{version}", arguments=arguments, reason=reason)
    done = await _worked("models.add", wanted, query, quiet=as_json)
    session.report(done, as_json=as_json)


def _address(source: str) -> tuple[str, str]:
    """Where a file is, and the query of its address; a path as a node elsewhere understands it."""
    if source.lower().startswith(("https://", "http://")):
        path, _, query = source.partition("#")[0].partition("?")
        return path, query
    return _absolute(source), ""


def _absolute(place: str) -> str:
    """An address as it is, a path as a node elsewhere understands it."""
    if "://" in place or place.startswith("mlflow:"):
        return place
    return str(Path(place).absolute())


async def _worked(name: str, wanted: actions.Wanted, query: str, *, quiet: bool) -> actions.Done:
    """Ask for the job and follow it; the query of an address is deposited, as it may be secret."""
    home = session.home()
    async with session.store() as store:
        action = actions.TABLE[name]
        deposited = secrets.deposit(home, query, "The query of an address") if query else ""
        if deposited:
            arguments = {**wanted.arguments, "secret": deposited}
            wanted = dataclasses.replace(wanted, arguments=arguments)
        try:
            done = await actions.perform(home, store, action, wanted, timeout_s=_SOON_S)
        except storage_errors.StorageError:
            secrets.discard(home, deposited)
            raise
        if done.waits and done.intent_id is not None:
            done = await session.followed(store, done.intent_id, quiet=quiet)
        if done.ok:
            secrets.discard(home, deposited)  # a failed job may be retried and needs it
        return done


def _lineage(parent: str | None, dataset: str | None, run: str | None) -> dict[str, object]:
    """The arguments that were given."""
    given = {"parent": parent, "dataset": dataset, "run": run}
    return {name: value for name, value in given.items() if value is not None}


@app.command("list")
async def every(
    removed: Removed = False, at: options.At = None, as_json: options.Json = False
) -> None:
    """All model versions; with --at those of then, with their aliases."""
    at_us = moments.at(at)
    async with session.reading() as s:
        registry = await _registry(s, at_us)
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


async def _registry(s: Session, at_us: int | None) -> Registry:
    return await (model_views.read(s) if at_us is None else model_views.read_at(s, at_us))


async def _version(s: Session, name: str, at_us: int | None) -> ModelVersion:
    return await (models.find(s, name) if at_us is None else past_models.find(s, name, at_us))


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
async def tree(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only the line of this version.")
    ] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The family tree: which version was made from which, by which data and run."""
    at_us = moments.at(at)
    async with session.reading() as s:
        root = None if name is None else await _version(s, name, at_us)
        registry = await _registry(s, at_us)
    nodes = model_lineage.tree(registry.versions, None if root is None else root.id)
    lines = model_views.tree(registry, root) or ["No models yet."]
    terminal.show(nodes, lines, as_json=as_json)


@app.command()
async def trace(
    name: Name,
    parent: Parent = None,
    dataset: Dataset = None,
    run: Run = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Record what a version was made from; an option that is left out is cleared."""
    async with session.reading() as s:
        version = await models.find(s, name)
    done = await session.ask(
        "models.trace", version.name, _lineage(parent, dataset, run), reason=reason
    )
    session.report(done, as_json=as_json)


@app.command()
async def export(
    name: Name,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="DIR", help="A new directory, or mlflow:models:/name of a registry."
        ),
    ],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Hand a version on: file, SHA-256, and a card with facts and lineage, as a Hub repository."""
    async with session.reading() as s:
        version = await models.find(s, name)
    wanted = actions.Wanted(target=version.name, arguments={"to": _absolute(to)}, reason=reason)
    done = await _worked("models.export", wanted, "", quiet=as_json)
    session.report(done, as_json=as_json)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """One model version in full: its file, its checks, its lineage, where it is used.

    With --at its lineage, the place of its file and its checks are those of now, as those of then
    are not recorded; what was in memory is left out.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        version = await _version(s, name, at_us)
        registry = await _registry(s, at_us)
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


app.registered_commands += model_aliases.app.registered_commands
app.registered_commands += unused_models.app.registered_commands
