"""`paddock services`: create a service, set and undo the split of its traffic."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import (
    actions,
    errors,
    listing,
    moments,
    secret_files,
    session,
    split_effect,
    split_input,
    terminal,
    words,
)
from app.commands import options
from app.figures import arms as arm_figures
from app.listing import Column
from storage import availability, intents, releases, services, splits
from storage.errors import StorageError
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
async def split(
    name: Name,
    arms: Annotated[list[str], typer.Argument(metavar="RELEASE=PERCENT...", help="r1=90 r2=10")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set the weights of a service's arms; they add up to 100."""
    weights = split_input.parse(arms)
    await _split(name, weights, reason=reason, yes=yes, as_json=as_json)


async def _split(
    name: str, weights: dict[str, int], *, reason: str, yes: bool, as_json: bool
) -> None:
    async with session.reading() as s:
        service = await services.find(s, name)
        numbers = {arm: (await releases.find(s, arm)).number for arm in weights}
    if len(set(numbers.values())) < len(numbers):
        raise errors.BadWord("One release is named twice, by number and by hash; give it once.")
    after = {numbers[arm]: points for arm, points in weights.items()}
    arms = {f"r{release}": points for release, points in after.items()}
    effect = await _effect(service, after)
    done = await _agreed("services.split", service, effect, {"arms": arms}, reason=reason, yes=yes)
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    name: Name,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="SPLIT", min=1, help="As `services show` numbers the splits."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Go back to the split before the current one, or to the one that is named.

    Going back twice changes once: a service that is back already stays there.
    """
    async with session.reading() as s:
        service = await services.find(s, name)
        target = to or splits.roll_back_target(await services.history(s, name, limit=2))
        if target is None:
            raise errors.AppError(f"{name} has had one split only; there is nothing to undo.")
        split = await services.find_split(s, name, target)
    effect = await _effect(service, _weights(split))
    arguments: dict[str, object] = {"to": target}
    done = await _agreed("services.undo", service, effect, arguments, reason=reason, yes=yes)
    session.report(done, as_json=as_json)


@app.command()
async def freeze(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Freeze a service: its split cannot be changed until it is unfrozen, only undone."""
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
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Record texts or not, follow labels at once or by rollouts, share cached prompts or not.

    The key signs what rollouts of the service send that were given none: also those that a label
    or a manifest starts.
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
    if webhook_secret_file is not None:
        effects.append("sign the messages of rollouts by this key")
    if not effects:
        raise errors.BadWord(
            "Name what to set: --record-text, --no-record-text, --on-label, --prefix-cache or "
            "--webhook-secret-file."
        )
    effect = f"{name}  {', '.join(effects)}"
    agreed = session.agreed("services.set", name, effect, reason, yes=yes)
    deposited = None
    if webhook_secret_file is not None:
        deposited = secret_files.deposit(webhook_secret_file, "The key of the webhooks")
        arguments["webhook_secret"] = deposited
    try:
        done = await session.ask("services.set", name, arguments, reason=agreed.reason)
    except StorageError:
        secret_files.withdraw(deposited)
        raise
    if not done.ok and not done.waits:
        secret_files.withdraw(deposited)
    session.report(done, as_json=as_json)


@app.command()
async def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The staging, support-next.")],
    strategy: Annotated[
        Strategy, typer.Option("--strategy", help="As of `paddock rollouts start`.")
    ] = Strategy.CANARY,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a rollout of the production service to the release that its staging serves."""
    async with session.reading() as s:
        service = await services.find(s, name)
    to = service.staging_of or "no service"
    now = splits.words(splits.pairs(service.split.arms))
    effect = f"start a rollout ({strategy.value}) of {to} to what it serves: {now}"
    arguments: dict[str, object] = {"strategy": strategy.value}
    await _asked("services.promote", name, effect, arguments, reason, yes=yes, as_json=as_json)


@app.command()
async def remove(
    name: Name,
    despite_traffic: Annotated[
        bool, typer.Option("--despite-traffic", help="Even if clients used it just now.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a service: its clients get 404; what was recorded stays."""
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


async def _agreed(
    verb: str,
    service: Service,
    effect: str,
    arguments: dict[str, object],
    *,
    reason: str,
    yes: bool,
) -> actions.Done:
    agreed = session.agreed(verb, service.name, effect, reason, yes=yes)
    return await session.ask(
        verb,
        service.name,
        arguments,
        reason=agreed.reason,
        expected_version=service.version,
        confirm=agreed.confirm,
    )


async def _effect(service: Service, after: dict[int, int]) -> str:
    """What changes, and which of the arms that get more do not answer yet.

    Raises:
        errors.AppError: one of them cannot answer, so control would refuse it.
    """
    before = _weights(service.split)
    async with session.reading() as s:
        waits = arm_figures.waits(await availability.every(s, list(after)))
    if why := split_effect.refusal(waits, before, after):
        raise errors.AppError(f"{why}.")
    cautions = split_effect.cautions(waits, before, after)
    return "\n".join([splits.change(service.name, before, after), *cautions])


def _weights(split: Split) -> dict[int, int]:
    return dict(splits.pairs(split.arms))


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


def _cached(how: PrefixCache) -> str:
    shared = how is PrefixCache.SHARED
    return "share cached prompts" if shared else "keep cached prompts apart by tenant"


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
    """All services and their splits as set; `paddock status` shows what was measured."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await (services.every(s) if at_us is None else past_services.every(s, at_us))
    listing.show(COLUMNS, known, as_json=as_json)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """One service and the history of its splits, newest first."""
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
    terminal.show({"service": service, "history": history}, lines, as_json=as_json)
