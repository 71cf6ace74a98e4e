"""`paddock services`: create a service, set and undo the split of its traffic."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import (
    errors,
    listing,
    moments,
    secret_files,
    session,
    terminal,
    words,
)
from app.commands import options, service_settings, service_splits
from app.listing import Column
from storage import intents, services, splits
from storage.past import services as past_services
from storage.rollout_steps import OnLabel, Strategy
from storage.service_rows import PrefixCache
from storage.services import Service
from storage.splits import Split

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The service, as clients call it.")]


@app.command()
async def create(
    name: Name,
    release: Annotated[str, typer.Option("--release", help="The release that answers: r1")],
    record_text: Annotated[
        bool, typer.Option("--record-text", help="Keep prompts and answers, not only figures.")
    ] = False,
    staging_of: Annotated[
        str | None,
        typer.Option("--staging-of", metavar="SERVICE", help="Whose releases it tries first."),
    ] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a service: the name that clients put into `model`."""
    arguments: dict[str, object] = {"release": release, "record_text": record_text}
    if staging_of is not None:
        arguments["staging_of"] = staging_of
    done = await session.ask("services.create", name, arguments, reason=reason)
    session.report(done, as_json=as_json)


@app.command()
async def freeze(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Freeze a service. Its split can then only be undone, until it is unfrozen."""
    if not reason.strip():
        raise errors.BadWord("Say why with --reason; refused changes quote it.")
    await _asked("services.freeze", name, "freeze", {}, reason, yes=yes, as_json=as_json)


@app.command()
async def unfreeze(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Allow changes of a service's split again."""
    await _asked("services.unfreeze", name, "unfreeze", {}, reason, yes=yes, as_json=as_json)


@app.command()
async def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The staging, support-next.")],
    strategy: Annotated[
        Strategy | None,
        typer.Option(
            "--strategy", help="As in `paddock rollouts start`; by default production's policy."
        ),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a rollout of production to its staging's release."""
    async with session.reading() as s:
        service = await services.find(s, name)
    to = service.staging_of or "no service"
    now = splits.words(splits.pairs(service.split.arms))
    how = "as its policy says, else a canary" if strategy is None else strategy.value
    effect = f"start a rollout ({how}) of {to} to what it serves: {now}"
    arguments: dict[str, object] = {} if strategy is None else {"strategy": strategy.value}
    await _asked("services.promote", name, effect, arguments, reason, yes=yes, as_json=as_json)


@app.command()
async def remove(
    name: Name,
    despite_traffic: Annotated[
        bool, typer.Option("--despite-traffic", help="Even if clients used it recently.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a service. Its clients get 404; what was recorded stays."""
    arguments: dict[str, object] = {"despite_traffic": despite_traffic}
    effect = "remove for good; its clients get 404"
    await _asked("services.remove", name, effect, arguments, reason, yes=yes, as_json=as_json)


async def _asked(
    verb: str,
    name: str,
    effect: str,
    arguments: dict[str, object],
    reason: str,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    agreed = session.agreed(verb, name, f"{name}  {effect}", reason, yes=yes)
    done = await session.ask(verb, name, arguments, reason=agreed.reason, confirm=agreed.confirm)
    session.report(done, as_json=as_json)


def _owner(service: Service) -> str:
    """Who may change the split: people by hand, or its owner, unless it is frozen."""
    owner = "people" if service.owner is None else service.owner.name
    return owner if service.frozen is None else f"{owner}, frozen"


def _use(service: Service) -> str:
    """Production, or whose staging it is."""
    return "production" if service.staging_of is None else f"staging of {service.staging_of}"


def _on_label(how: OnLabel) -> str:
    return "at once" if how is OnLabel.AT_ONCE else f"by a {how.value.replace('_', '-')} rollout"


def _applied(service: Service) -> str:
    policy = service.rollout_policy
    return "at once" if policy is None else f"by a rollout, {policy.words}"


def _number(split: Split) -> str:
    return str(split.id) if split.restores is None else f"{split.id}, back at {split.restores}"


COLUMNS: Final[tuple[Column[Service], ...]] = (
    Column("SERVICE", lambda service: service.name),
    Column("SPLIT", lambda service: splits.words(splits.pairs(service.split.arms))),
    Column("USE", _use),
    Column("TEXTS", lambda service: "recorded" if service.record_text else "not kept"),
    Column("SET", lambda service: words.clock(service.split.set_at_us)),
    Column("BY", lambda service: service.split.set_by),
    Column("OWNER", _owner),
)
Explained = tuple[Split, str]  # with the reason that its intent gave
SPLIT_COLUMNS: Final[tuple[Column[Explained], ...]] = (
    Column("SPLIT", lambda row: _number(row[0])),
    Column("SET", lambda row: words.clock(row[0].set_at_us)),
    Column("BY", lambda row: row[0].set_by),
    Column("ARMS", lambda row: splits.words(splits.pairs(row[0].arms))),
    Column("INTENT", lambda row: words.whole(row[0].intent_id)),
    Column("REASON", lambda row: words.known(row[1]), below=True),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the services and their splits as set. `paddock status` shows what was measured."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await (services.every(s) if at_us is None else past_services.every(s, at_us))
    listing.show(
        COLUMNS, known, as_json=as_json, document=[secret_files.without(each) for each in known]
    )


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a service and its splits, newest first."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            service = await services.find(s, name)
            past = await services.history(s, name)
        else:
            service = await past_services.find(s, name, at_us)
            past = await past_services.history(s, service, at_us)
        asked = [each.intent_id for each in past if each.intent_id is not None]
        reasons = await intents.reasons(s, asked)
    newest_first = sorted(past, key=lambda split: split.id, reverse=True)
    explained = [(each, reasons.get(each.intent_id or 0, "")) for each in newest_first]
    history = [{**msgspec.to_builtins(split), "reason": reason} for split, reason in explained]
    lines = [
        f"{service.name}  {splits.words(splits.pairs(service.split.arms))}",
        f"texts {'are recorded' if service.record_text else 'are not kept'}",
        f"labels are followed {_on_label(service.on_label)}",
        f"manifests are applied {_applied(service)}",
        "cached prompts are "
        + ("shared" if service.prefix_cache is PrefixCache.SHARED else "kept apart by tenant"),
        f"webhooks of rollouts are {'not ' * (service.webhook_secret is None)}signed by its key",
        f"owner {_owner(service)}",
        f"use {_use(service)}",
        *([] if service.frozen is None else [words.safe(service.frozen.words)]),
        f"created {words.clock(service.created_at_us)} by {service.created_by}",
        "",
        *listing.table(SPLIT_COLUMNS, explained),
    ]
    shown = {"service": secret_files.without(service), "history": history}
    terminal.show(shown, lines, as_json=as_json)


app.take(service_splits.app, service_settings.app)
