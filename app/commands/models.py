"""`paddock models`: register weights and adapters, look at what is registered."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import actions, errors, job_progress, listing, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import errors as storage_errors
from storage import intents, jobs, models, releases, services, splits
from storage.home import secrets
from storage.model_checks import Chat, ModelChecks
from storage.models import ModelVersion
from storage.releases import Release
from storage.store import Store

app = options.group()

_SHA256: Final = re.compile("[0-9a-f]{64}")
_SOON_S: Final = 0.5
"""What is done by then needs no progress bar."""


@app.command()
async def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A GGUF file: a path, https://…, or hf://owner/repository/file.gguf@revision.",
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
        str | None, typer.Option("--sha256", help="The SHA-256 that the file must have.")
    ] = None,
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
    if sha256 is not None:
        if not _SHA256.fullmatch(sha256.lower()):
            raise errors.BadWord("--sha256 takes 64 hexadecimal digits, as `sha256sum` prints.")
        arguments["sha256"] = sha256.lower()
    wanted = actions.Wanted(target=f"{name}@{version}", arguments=arguments, reason=reason)
    done = await _add(wanted, query, quiet=as_json)
    session.report(done, as_json=as_json)


def _address(source: str) -> tuple[str, str]:
    """Where a file is, and the query of its address; a path as a node elsewhere understands it."""
    if source.lower().startswith(("https://", "http://")):
        path, _, query = source.partition("#")[0].partition("?")
        return path, query
    return (source if "://" in source else str(Path(source).absolute())), ""


async def _add(wanted: actions.Wanted, query: str, *, quiet: bool) -> actions.Done:
    """Ask for the job and follow it; the query of an address is deposited, as it may be secret."""
    home = session.home()
    async with session.store() as store:
        action = actions.TABLE["models.add"]
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
            done = await _followed(store, done.intent_id, quiet=quiet)
        if done.ok:
            secrets.discard(home, deposited)  # a failed job may be retried and needs it
        return done


async def _followed(store: Store, intent_id: int, *, quiet: bool) -> actions.Done:
    """Follow the intent's job, once control has queued it, to the end of both."""
    left = actions.OUTCOME_S
    while True:
        async with store.read() as s:
            intent = await intents.find(s, intent_id)
            job = await jobs.of_intent(s, intent_id)
        if job is not None:
            await job_progress.follow(store, job.id, quiet=quiet)
            left = 0.0
        if intent.ended_at_us is not None or (job is None and left <= 0):
            return await actions.outcome(store, intent)
        if job is None:
            await job_progress.changed(store, 1.0)
            left -= 1.0


@app.command("list")
async def every(as_json: options.Json = False) -> None:
    """All model versions."""
    async with session.reading() as s:
        known = await models.every(s)
    names = {version.id: version.name for version in known}
    listing.show(_columns(names), known, as_json=as_json, empty="No models yet.")


def _columns(names: Mapping[int, str]) -> tuple[Column[ModelVersion], ...]:
    """The columns of the list; `names` are those of all versions by their number."""
    return (
        Column("MODEL", lambda version: version.name),
        Column("KIND", lambda version: version.kind.value),
        Column("BASE", lambda version: words.known(names.get(version.base_id or 0))),
        Column("SIZE", lambda version: words.size(version.size_bytes), right=True),
        Column("PARAMETERS", lambda version: words.count(version.parameters), right=True),
        Column("QUANT", lambda version: version.quantisation),
        Column("CONTEXT", lambda version: words.count(version.context_tokens or None), right=True),
        Column("CHAT", _chats),
        Column("STATUS", lambda version: version.status.value),
    )


@app.command()
async def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ops@1.0.0, or ops for the newest.")],
    as_json: options.Json = False,
) -> None:
    """One model version in full: its file, its checks, its lineage, where it is used."""
    async with session.reading() as s:
        version = await models.find(s, name)
        known = await models.every(s)
        used = [each for each in await releases.every(s) if each.model_version_id == version.id]
        live = await services.every(s)
    base = next((each for each in known if each.id == version.base_id), None)
    adapters = [each.name for each in known if each.base_id == version.id]
    serving = [
        f"{service.name} ({splits.percent(arm.weight_bp)} on r{arm.release})"
        for service in live
        for arm in service.split.arms
        if arm.release in {release.number for release in used}
    ]
    chat = version.checks.chat
    rows = [
        ("name", version.name),
        ("kind", version.kind.value + (f" on {base.name}" if base else "")),
        ("status", version.status.value),
        ("reason", words.known(version.status_reason)),
        ("file", version.path),
        ("source", version.source or "local file"),
        ("sha256", version.sha256),
        ("size", words.size(version.size_bytes)),
        ("architecture", version.architecture),
        ("parameters", words.count(version.parameters)),
        ("quantisation", version.quantisation),
        ("context", f"{words.count(version.context_tokens)} tokens"),
        ("licence", words.known(version.licence)),
        ("chat", _chats(version)),
        ("chat template", words.UNKNOWN if chat is None else chat.template.value),
        ("system message", _system(chat)),
        ("checked", version.checks.unable_to_chat or (chat.reason if chat else None) or "no fault"),
        ("adapters", words.known(", ".join(adapters))),
        ("releases", _names(used)),
        ("services", words.known(", ".join(serving))),
        ("registered", f"{words.clock(version.created_at_us)} by {version.created_by}"),
    ]
    shown = {
        **msgspec.to_builtins(version),
        "base": None if base is None else base.name,
        "adapters": adapters,
        "releases": [release.name for release in used],
        "services": serving,
    }
    terminal.show(shown, words.table(rows), as_json=as_json)


def _names(found: list[Release]) -> str:
    return words.known(", ".join(release.name for release in found))


def _chats(version: ModelVersion) -> str:
    """Whether a version can answer chats, as far as was tried."""
    if version.checks == ModelChecks():
        return "not checked" if version.kind is models.Kind.WEIGHTS else "as its base"
    return "no" if version.checks.unable_to_chat else "yes"


def _system(chat: Chat | None) -> str:
    if chat is None or not chat.works:
        return words.UNKNOWN
    return "taken" if chat.takes_system else "put before the first user message"
