"""`paddock deployments`: what is loaded, in how many instances, and how many there should be."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import listing, model_registry, model_views, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from app.model_registry import Proof
from storage import deployments, models, processes, releases, services
from storage.deployments import Deployment, Status
from storage.past import deployments as past_deployments
from storage.past import processes as past_processes
from storage.past import services as past_services
from storage.processes import Process, State
from storage.store import Session

app = options.group()

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="ops-1.0.0, or the beginning of one name.")
]


class View(msgspec.Struct, frozen=True):
    """A deployment with what uses it, and the processes of its instances."""

    deployment: Deployment
    releases: tuple[str, ...]
    models: tuple[str, ...]
    instances: tuple[Process, ...]
    needed: bool  # a split sends traffic to one of its releases
    proofs: tuple[Proof, ...] = ()  # of what its instances have in memory, beside the registry

    @property
    def status(self) -> str:
        """Active only where something needs it."""
        known = self.deployment.status
        return "unused" if known is Status.ACTIVE and not self.needed else known.value

    @property
    def ready(self) -> int:
        """How many instances can answer."""
        return sum(each.state is State.READY for each in self.instances)


def _replicas(deployment: Deployment) -> str:
    """Upstreams run their own instances."""
    return words.count(deployment.replicas) if deployment.instances else words.UNKNOWN


def _ready(view: View) -> str:
    return words.count(view.ready) if view.deployment.instances else words.UNKNOWN


COLUMNS: Final[tuple[Column[View], ...]] = (
    Column("DEPLOYMENT", lambda view: view.deployment.name),
    Column("BACKEND", lambda view: view.deployment.backend.value),
    Column("REPLICAS", lambda view: _replicas(view.deployment), right=True),
    Column("READY", _ready, right=True),
    Column("STATUS", lambda view: view.status),
    Column("RELEASES", lambda view: words.known(" ".join(view.releases))),
    Column("MODELS", lambda view: words.known(" ".join(view.models))),
)
INSTANCE_COLUMNS: Final[tuple[Column[Process], ...]] = (
    Column("INSTANCE", lambda process: process.name),
    Column("STATE", lambda process: process.state.value),
    Column("PID", lambda process: words.whole(process.pid), right=True),
    Column("RESTARTS", lambda process: words.count(process.restarts), right=True),
    Column("REASON", lambda process: words.known(process.reason), below=True),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the deployments with their instances."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await (deployments.every(s) if at_us is None else past_deployments.every(s, at_us))
        views = [await _view(s, each, at_us) for each in known]
    listing.show(COLUMNS, views, as_json=as_json)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a deployment with its instances. --at leaves out what was in memory."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            view = await _view(s, await deployments.resolve(s, name))
        else:
            view = await _view(s, await past_deployments.resolve(s, name, at_us), at_us)
        registry = await model_registry.read(s, at_us)
    weights = next((v for v in registry.versions if v.sha256 == view.deployment.weights), None)
    if weights is not None and at_us is None:
        proofs = tuple(registry.proof(each, weights) for each in view.instances)
        view = msgspec.structs.replace(view, proofs=proofs)
    found = view.deployment
    rows = [
        ("name", found.name),
        ("backend", f"{found.backend.value} {found.upstream or ''}".strip()),
        ("status", view.status),
        ("reason", words.known(found.status_reason)),
        ("replicas", _replicas(found)),
        ("releases", words.known(" ".join(view.releases))),
        ("models", words.known(" ".join(view.models))),
    ]
    if (settings := found.engine or found.server) is not None:
        rows += [(f, words.setting(getattr(settings, f))) for f in settings.__struct_fields__]
    lines = words.table(rows)
    if view.instances:
        lines += ["", *listing.table(INSTANCE_COLUMNS, view.instances)]
    if view.proofs:
        lines += ["", "in memory", *model_views.proof_lines(registry, list(view.proofs))]
    terminal.show(view, lines, as_json=as_json)


@app.command()
async def scale(
    name: Name,
    replicas: Annotated[int, typer.Argument(metavar="REPLICAS", help="1 to 64.")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set the number of instances. Surplus ones finish their requests first."""
    async with session.reading() as s:
        found = await deployments.resolve(s, name)
    effect = f"{found.name} replicas  {found.replicas} → {replicas}"
    agreed = session.agreed("deployments.scale", found.name, effect, reason, yes=yes)
    arguments: dict[str, object] = {"replicas": replicas}
    done = await session.ask("deployments.scale", found.name, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def restart(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start the instances of a failing deployment again."""
    async with session.reading() as s:
        found = await deployments.resolve(s, name)
    effect = f"{found.name}  {found.status.value} → {Status.ACTIVE.value}"
    agreed = session.agreed("deployments.restart", found.name, effect, reason, yes=yes)
    done = await session.ask("deployments.restart", found.name, reason=agreed.reason)
    session.report(done, as_json=as_json)


async def _view(s: Session, deployment: Deployment, at_us: int | None = None) -> View:
    """It with what uses it now, or at a past moment."""
    used = [
        each
        for each in await releases.every(s)
        if each.deployment == deployment.name and (at_us is None or each.created_at_us <= at_us)
    ]
    versions = {version.id: version.name for version in await models.every(s)}
    numbers = sorted({each.model_version_id for each in used if each.model_version_id is not None})
    live = {
        arm.release
        for service in await (services.every(s) if at_us is None else past_services.every(s, at_us))
        for arm in service.split.arms
        if arm.weight_bp
    }
    if at_us is None:
        running = await processes.every(s)
    else:
        node = await past_processes.node(s, at_us)
        running = await past_processes.every(s, node.run if node.alive else None, at_us)
    return View(
        needed=any(each.number in live for each in used),
        deployment=deployment,
        releases=tuple(each.name for each in used),
        models=tuple(versions[number] for number in numbers),
        instances=tuple(each for each in running if each.deployment == deployment.name),
    )
