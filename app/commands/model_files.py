"""`paddock models add` and `export`: jobs that bring a version's file in, or write it out.

Imported by `app.commands.models`.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from app import actions, errors, session
from app.commands import model_lineage, options
from app.commands.model_lineage import Dataset, Parent, Run
from storage import errors as storage_errors
from storage import models
from storage.home import secrets

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
    arguments |= model_lineage.given(parent, dataset, run)
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


@app.command()
async def export(
    name: options.Model,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="DIR", help="A new directory, or mlflow:models:/name of a registry."
        ),
    ],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Export a version as a Hub repository, or to MLflow.

    It has the file, its SHA-256, and a card with facts and lineage.
    """
    async with session.reading() as s:
        version = await models.find(s, name)
    wanted = actions.Wanted(target=version.name, arguments={"to": _absolute(to)}, reason=reason)
    done = await _worked("models.export", wanted, "", quiet=as_json)
    session.report(done, as_json=as_json)
