"""`paddock releases`: bind a model version, a prompt version and settings into what answers."""

from __future__ import annotations

from typing import Annotated

import typer

from app import (
    actions,
    listing,
    manifest_effect,
    moments,
    session,
    terminal,
    words,
)
from app.commands import options, release_creation, replays
from app.commands import retired_releases as retired_commands
from app.listing import Column
from storage import models, prompts, release_differences, releases, retired_releases
from storage.past import releases as past_releases
from storage.releases import Release

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="r14, or the start of its hash.")]


@app.command("list")
async def every(
    retired: Annotated[bool, typer.Option("--all", help="Retired ones, too.")] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the releases that are not retired. --at lists those of that time."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            every, gone = await releases.every(s), await retired_releases.every(s)
        else:
            every = await past_releases.every(s, at_us)
            gone = await past_releases.retired(s, at_us)
        known = [each for each in every if retired or each.number not in gone]
        model_names = {version.id: version.name for version in await models.every(s)}
        prompted = [release.prompt_version_id or 0 for release in known]
        prompt_names = await prompts.names_of(s, prompted)
    columns: tuple[Column[Release], ...] = (
        Column("RELEASE", lambda release: release.name),
        Column(
            "MODEL",
            lambda release: model_names.get(release.model_version_id or 0) or _served(release),
        ),
        Column(
            "PROMPT",
            lambda release: _prompt(prompt_names.get(release.prompt_version_id or 0), release),
        ),
        Column("TEMPERATURE", lambda release: f"{release.sampling.temperature:g}", right=True),
        Column("MAX TOKENS", lambda release: words.count(release.limits.max_tokens), right=True),
        Column("DEPLOYMENT", lambda release: release.deployment),
        Column("CREATED", lambda release: words.clock(release.created_at_us)),
    )
    if retired:
        columns += (
            Column("RETIRED", lambda release: retired_commands.words_of(gone.get(release.number))),
        )
    listing.show(columns, known, as_json=as_json)


@app.command()
async def show(
    name: Name,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show a release. It never changes; with --at it may not have been retired yet."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            release, retired = await releases.find(s, name), await retired_releases.every(s)
        else:
            release = await past_releases.find(s, name, at_us)
            retired = await past_releases.retired(s, at_us)
        model = (
            None
            if release.model_version_id is None
            else await models.get(s, release.model_version_id)
        )
        prompt = (
            None
            if release.prompt_version_id is None
            else await prompts.get(s, release.prompt_version_id)
        )
    rows = [
        ("name", release.name),
        ("sha256", release.sha256),
        ("model", f"{model.name} ({model.kind.value})" if model else _served(release)),
        ("prompt", _prompt(None if prompt is None else prompt.name, release)),
        ("backend", release.backend.value),
        ("deployment", release.deployment),
        ("adapter", words.known(release.adapter)),
    ]
    for part, settings in (
        ("sampling", release.sampling),
        ("limits", release.limits),
        (type(release.settings).__name__.lower(), release.settings),
    ):
        values = ((f, getattr(settings, f)) for f in settings.__struct_fields__)
        rows.append((part, ", ".join(f"{f} {words.setting(value)}" for f, value in values)))
    rows.append(("created", f"{words.clock(release.created_at_us)} by {release.created_by}"))
    rows.append(("comment", words.known(release.comment)))
    rows.append(("retired", retired_commands.words_of(retired.get(release.number))))
    terminal.show(release, words.table(rows), as_json=as_json)


@app.command()
async def diff(
    before: Annotated[str, typer.Argument(metavar="RELEASE", help="r1")],
    after: Annotated[str, typer.Argument(metavar="RELEASE", help="r2")],
    as_json: options.Json = False,
) -> None:
    """Compare two releases field by field."""
    async with session.reading() as s:
        one, other = [await releases.find(s, name) for name in (before, after)]
        found = release_differences.between(
            await releases.content(s, one), await releases.content(s, other)
        )
    lines = manifest_effect.differing(found) or [f"{one.name} and {other.name} are the same."]
    terminal.show(found, lines, as_json=as_json)


@app.command()
async def smoke(name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Ask a release a few requests, all of which it must answer.

    They run in the background; it is loaded if necessary. ^C stops watching, not the job.
    """
    async with session.store() as store:
        wanted = actions.Wanted(target=name, reason=reason)
        done = await actions.perform(
            session.home(), store, actions.TABLE["releases.smoke"], wanted, timeout_s=0.0
        )
        if done.waits and done.intent_id is not None:
            done = await session.followed(store, done.intent_id, quiet=as_json)
    session.report(done, as_json=as_json)


def _served(release: Release) -> str:
    """The model that a server is asked for."""
    settings = release.upstream or release.server
    return words.UNKNOWN if settings is None else settings.model


def _prompt(name: str | None, release: Release) -> str:
    """The prompt version, and the label that decides that of the next release."""
    if release.follows is None:
        return words.known(name)
    return f"{name} (follows {release.follows.partition(':')[2]})"


app.command("replay")(replays.sample)
app.command("bisect")(replays.bisect)
app.add_typer(replays.app, name="replays", help="What replays found.")
app.take(release_creation.app, retired_commands.app)
