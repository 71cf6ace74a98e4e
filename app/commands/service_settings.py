"""`paddock services set`: what a service has beside its split.

Imported by `app.commands.services`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import (
    errors,
    secret_files,
    session,
)
from app.commands import options
from storage.rollout_steps import OnLabel
from storage.service_rows import PrefixCache

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The service, as clients call it.")]


@app.command("set")
async def set_(
    name: Name,
    *,
    record_text: Annotated[
        bool | None,
        typer.Option("--record-text/--no-record-text", help="Keep prompts and answers."),
    ] = None,
    on_label: Annotated[
        OnLabel | None,
        typer.Option(
            "--on-label",
            help="When a label moves that a live release follows: at_once, or by a rollout.",
        ),
    ] = None,
    prefix_cache: Annotated[
        PrefixCache | None,
        typer.Option(
            "--prefix-cache",
            help="tenant: a request never finds a prompt of another tenant in a worker's memory.",
        ),
    ] = None,
    webhook_secret_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Holds the key that signs the messages of later rollouts; - for stdin.",
        ),
    ] = None,
    no_webhook_secret: Annotated[
        bool,
        typer.Option("--no-webhook-secret", help="No longer sign the messages of later rollouts."),
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Change settings of a service; omitted ones stay.

    The key of webhooks signs what rollouts of the service send if they have no key of their own,
    including those that a label or a manifest starts.
    """
    effects, arguments = [], dict[str, object]()
    if record_text is not None:
        arguments["record_text"] = record_text
        effects.append("record texts" if record_text else "record no texts")
    if on_label is not None:
        arguments["on_label"] = on_label.value
        effects.append(f"follow labels: {on_label.value}")
    if prefix_cache is not None:
        arguments["prefix_cache"] = prefix_cache.value
        effects.append(_cached(prefix_cache))
    effects += _signing(webhook_secret_file, removed=no_webhook_secret)
    if not effects:
        raise errors.BadWord(
            "Name a setting: --record-text, --no-record-text, --on-label, --prefix-cache, "
            "--webhook-secret-file or --no-webhook-secret."
        )
    effect = f"{name}  {', '.join(effects)}"
    agreed = session.agreed("services.set", name, effect, reason, yes=yes)
    if no_webhook_secret:
        arguments["webhook_secret"] = ""
    with secret_files.deposits() as deposits:
        if webhook_secret_file is not None:
            key = deposits.add(webhook_secret_file, "The key of the webhooks")
            arguments["webhook_secret"] = key
        done = await session.ask("services.set", name, arguments, reason=agreed.reason)
        deposits.settle(done)
    session.report(done, as_json=as_json)


def _signing(file: str | None, *, removed: bool) -> list[str]:
    """What happens to the key that signs messages."""
    if file is not None and removed:
        raise errors.BadWord("Give --webhook-secret-file or --no-webhook-secret, not both.")
    if removed:
        return ["no longer sign the messages of rollouts"]
    return [] if file is None else ["sign the messages of rollouts with this key"]


def _cached(how: PrefixCache) -> str:
    shared = how is PrefixCache.SHARED
    return "share cached prompts" if shared else "keep cached prompts apart by tenant"
