"""`paddock deployments`: what is loaded, in how many instances, and how many there should be."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from app import session, terminal, words
from app.commands import options
from storage import deployments, models, processes, releases
from storage.deployments import Deployment, Status
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

    @property
    def ready(self) -> int:
        """How many instances can answer."""
        return sum(each.state is State.READY for each in self.instances)


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """All deployments with their instances."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        views = [await _view(s, each) for each in await deployments.every(s)]
    rows = [("DEPLOYMENT", "BACKEND", "REPLICAS", "READY", "STATUS", "RELEASES", "MODELS")]
    rows += [
        (
            view.deployment.name,
            view.deployment.backend.value,
            _replicas(view.deployment),
            words.count(view.ready) if view.deployment.instances else words.UNKNOWN,
            view.deployment.status.value,
            " ".join(view.releases) or words.UNKNOWN,
            " ".join(view.models) or words.UNKNOWN,
        )
        for view in views
    ]
    terminal.show(views, words.table(rows, right=(2, 3)), as_json=as_json)


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """One deployment: its settings and its instances."""
    terminal.run(_show(name, as_json=as_json))


async def _show(name: str, *, as_json: bool) -> None:
    async with session.reading() as s:
        view = await _view(s, await deployments.resolve(s, name))
    found = view.deployment
    rows = [
        ("name", found.name),
        ("backend", f"{found.backend.value} {found.upstream or ''}".strip()),
        ("status", found.status.value),
        ("reason", words.safe(found.status_reason or words.UNKNOWN)),
        ("replicas", _replicas(found)),
        ("releases", " ".join(view.releases) or words.UNKNOWN),
        ("models", " ".join(view.models) or words.UNKNOWN),
    ]
    if (settings := found.engine or found.server) is not None:
        rows += [
            (field, words.safe(str(getattr(settings, field))))
            for field in settings.__struct_fields__
        ]
    lines = words.table(rows)
    if view.instances:
        table = [("INSTANCE", "STATE", "PID", "RESTARTS", "REASON")]
        table += [
            (
                each.name,
                each.state.value,
                words.UNKNOWN if each.pid is None else str(each.pid),
                words.count(each.restarts),
                words.safe(each.reason or words.UNKNOWN),
            )
            for each in view.instances
        ]
        lines = [*lines, "", *words.table(table, right=(2, 3))]
    terminal.show(view, lines, as_json=as_json)


@app.command()
def scale(
    name: Name,
    replicas: Annotated[int, typer.Argument(metavar="REPLICAS", help="1 to 64.")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set how many instances run; those that are too many finish their requests first."""
    terminal.run(_scale(name, replicas, reason=reason, yes=yes, as_json=as_json))


async def _scale(name: str, replicas: int, *, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        found = await deployments.resolve(s, name)
    terminal.confirm(f"{found.name} replicas  {found.replicas} → {replicas}", yes=yes)
    done = await session.ask("deployments.scale", found.name, {"replicas": replicas}, reason=reason)
    session.tell(done, as_json=as_json)


@app.command()
def restart(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start the instances of a failing deployment again."""
    terminal.run(_restart(name, reason=reason, yes=yes, as_json=as_json))


async def _restart(name: str, *, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        found = await deployments.resolve(s, name)
    terminal.confirm(f"{found.name}  {found.status.value} → {Status.ACTIVE.value}", yes=yes)
    done = await session.ask("deployments.restart", found.name, reason=reason)
    session.tell(done, as_json=as_json)


def _replicas(deployment: Deployment) -> str:
    """Upstreams run their own instances."""
    return words.count(deployment.replicas) if deployment.instances else words.UNKNOWN


async def _view(s: Session, deployment: Deployment) -> View:
    used = [each for each in await releases.every(s) if each.deployment == deployment.name]
    versions = {version.id: version.name for version in await models.every(s)}
    numbers = sorted({each.model_version_id for each in used if each.model_version_id is not None})
    return View(
        deployment=deployment,
        releases=tuple(each.name for each in used),
        models=tuple(versions[number] for number in numbers),
        instances=tuple(
            each for each in await processes.every(s) if each.deployment == deployment.name
        ),
    )
