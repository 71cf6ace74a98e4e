"""`paddock releases create`: a model version, a prompt version and settings become a release.

Imported by `app.commands.releases`, which holds the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app import (
    release_options,
    session,
)
from app.commands import options

app = options.group()


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
        str | None, typer.Option(metavar="MODEL", help="The model's name on the upstream.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Starts an OpenAI-compatible server: 'llama-server -m {weights} --port {port}'.",
        ),
    ] = None,
    served_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model's name on the server.")
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
    """Create a release of a local model, an upstream or a server.

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
            raise typer.BadParameter("Name what answers: --model, --upstream or --server.")
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
