"""`paddock releases`: bind a model version, a prompt version and settings into what answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app import (
    actions,
    listing,
    manifest_effect,
    moments,
    release_options,
    session,
    terminal,
    words,
)
from app.commands import options, replays
from app.commands import retired_releases as retired_commands
from app.listing import Column
from storage import models, prompts, release_differences, releases, retired_releases
from storage.past import releases as past_releases
from storage.releases import Release

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="r14, or the start of its hash.")]


@app.command()
async def create(  # noqa: PLR0917 the command line passes every option by name
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME@VERSION", help="Weights or an adapter: ops@1.0.0"),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="NAME@NUMBER", help="A prompt version: helpful@1"),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="--prompt names a label; each of its moves makes the next release."
        ),
    ] = False,
    upstream: Annotated[
        str | None, typer.Option(metavar="NAME", help="A registered upstream, instead of --model.")
    ] = None,
    upstream_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="What the upstream is asked for.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Starts an OpenAI-compatible server: 'llama-server -m {weights} --port {port}'.",
        ),
    ] = None,
    served_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="What the server is asked for.")
    ] = None,
    server_env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Added to its environment.")
    ] = None,
    health_path: Annotated[
        str | None, typer.Option(help="Answers 200 when the server is ready.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=5, help="0 takes the likeliest token.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, help="Only the k likeliest tokens; 0 for all.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only the likeliest up to this share.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="At least this share of the likeliest.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="For the same text each time.")] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(min=0, max=10, help="Above 1, what was used is less likely.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(min=-2, max=2, help="Per earlier use of a token.")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(min=-2, max=2, help="For any earlier use of a token.")
    ] = None,
    repeat_last_n: Annotated[
        int | None,
        typer.Option(min=-1, help="The penalties see the last n tokens, the prompt's too."),
    ] = None,
    min_tokens: Annotated[int | None, typer.Option(min=0, help="No end comes before.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="When a client gives none.")] = None,
    max_tokens_cap: Annotated[
        int | None, typer.Option(min=1, help="The most that a client may ask for.")
    ] = None,
    queue_s: Annotated[
        float | None, typer.Option(min=0, help="Longest wait for the first token.")
    ] = None,
    context_tokens: Annotated[int | None, typer.Option(min=1, help="Per sequence.")] = None,
    max_sequences: Annotated[
        int | None, typer.Option(min=1, help="Computed at once by an instance.")
    ] = None,
    gpu_layers: Annotated[int | None, typer.Option(help="-1 for all.")] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="0 for all cores.")] = None,
    kv_cache_type: Annotated[
        str | None,
        typer.Option(help="How keys and values are stored: f16, q8_0 (half of it) or q4_0."),
    ] = None,
    prefill_budget: Annotated[int | None, typer.Option(min=1, help="Tokens a step.")] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="0,1", help="GPUs; placed by free memory when omitted.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the model over its devices: none, layer or row.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="text, embedding or reranking; what the model is made for if omitted."),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="Of embeddings: mean, cls or last; as the model says if omitted."),
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="Kept with the release.")] = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a release: what answers, on this box's workers, an upstream or a supervised server.

    Omitted settings use the defaults.
    """
    placed: dict[str, object] = {
        "context_tokens": context_tokens,
        "max_sequences": max_sequences,
        "devices": None if devices is None else release_options.devices(devices),
    }
    engine: dict[str, object] = {
        "gpu_layers": gpu_layers,
        "threads": threads,
        "prefill_budget": prefill_budget,
        "kv_cache_type": kv_cache_type,
        "split": split,
        "task": task,
        "pooling": pooling,
    }
    given: dict[str, dict[str, Any]] = {
        "sampling": {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "seed": seed,
            "repetition_penalty": repetition_penalty,
            "frequency_penalty": frequency_penalty,
            "presence_penalty": presence_penalty,
            "repeat_last_n": repeat_last_n,
            "min_tokens": min_tokens,
        },
        "limits": {
            "max_tokens": max_tokens,
            "max_tokens_cap": max_tokens_cap,
            "queue_s": queue_s,
        },
    }
    asked_for_server: dict[str, object] = {
        "--served-model": served_model,
        "--server-env": server_env,
        "--health-path": health_path,
    }
    if upstream is not None:
        _refuse("--upstream", {"--model": model, "--server": server} | asked_for_server)
        _refuse("--upstream", _as_options(placed | engine))
        if upstream_model is None:
            raise typer.BadParameter("--upstream needs --upstream-model: the model to ask for.")
        given["upstream"] = {"name": upstream, "model": upstream_model}
    elif server is not None:
        _refuse("--server", {"--upstream-model": upstream_model} | _as_options(engine))
        given["server"] = placed | {
            "command": release_options.command(server),
            "model": served_model or (model or "default").partition("@")[0],
            "environment": dict(map(release_options.variable, server_env or [])) or None,
            "health_path": health_path,
        }
    else:
        _refuse("--model", {"--upstream-model": upstream_model} | asked_for_server)
        if model is None:
            raise typer.BadParameter("Say what answers: --model, --upstream or --server.")
        given["engine"] = placed | engine
    arguments: dict[str, object] = {"comment": comment, "follow": follow}
    arguments |= {n: v for n, v in (("model", model), ("prompt", prompt)) if v is not None}
    for part, settings in given.items():
        arguments[part] = {name: value for name, value in settings.items() if value is not None}
    target = model or upstream or str(given.get("server", {}).get("model"))
    done = await session.ask("releases.create", target, arguments, reason=reason)
    session.report(done, as_json=as_json)


def _refuse(option: str, others: Mapping[str, object]) -> None:
    """Options that mean nothing beside another one."""
    for name, value in others.items():
        if value is not None:
            raise typer.BadParameter(f"{name} does not go with {option}.")


def _as_options(settings: Mapping[str, object]) -> dict[str, object]:
    return {f"--{name.replace('_', '-')}": value for name, value in settings.items()}


@app.command("list")
async def every(
    retired: Annotated[bool, typer.Option("--all", help="Retired ones, too.")] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """All releases that are not retired; with --at those of then."""
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
    """One release in full; it never changes, but may not have been retired yet with --at."""
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
    """What distinguishes two releases, field by field."""
    async with session.reading() as s:
        one, other = [await releases.find(s, name) for name in (before, after)]
        found = release_differences.between(
            await releases.content(s, one), await releases.content(s, other)
        )
    lines = manifest_effect.differing(found) or [f"{one.name} and {other.name} are the same."]
    terminal.show(found, lines, as_json=as_json)


@app.command()
async def smoke(name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Ask a release a few requests in the background, all of which it has to answer.

    It is loaded if it has to be. ^C stops watching, not the job.
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


app.registered_commands += retired_commands.app.registered_commands
app.command("replay")(replays.sample)
app.command("bisect")(replays.bisect)
app.add_typer(replays.app, name="replays", help="What replays found.")
