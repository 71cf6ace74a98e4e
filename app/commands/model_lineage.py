"""`paddock models tree` and `trace`: what versions were made from.

Imported by `app.commands.models` and `model_files`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import model_registry, model_views, moments, session, terminal
from app.commands import options
from storage import model_lineage, models

app = options.group()

Parent = Annotated[str | None, typer.Option("--parent", help="The version that it was made from.")]
Dataset = Annotated[
    str | None, typer.Option("--dataset", help="The dataset version that it was trained on.")
]
Run = Annotated[str | None, typer.Option("--run", help="The training run that made it.")]


@app.command()
async def tree(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only the line of this version.")
    ] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show which version was made from which. It names the data and the run of each."""
    at_us = moments.at(at)
    async with session.reading() as s:
        root = None if name is None else await model_registry.version(s, name, at_us)
        registry = await model_registry.read(s, at_us)
    nodes = model_lineage.tree(registry.versions, None if root is None else root.id)
    lines = model_views.tree(registry, root) or ["No models yet."]
    terminal.show(nodes, lines, as_json=as_json)


@app.command()
async def trace(
    name: options.Model,
    parent: Parent = None,
    dataset: Dataset = None,
    run: Run = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Record what a version was made from. An option that is left out is cleared."""
    async with session.reading() as s:
        version = await models.find(s, name)
    done = await session.ask(
        "models.trace", version.name, given(parent, dataset, run), reason=reason
    )
    session.report(done, as_json=as_json)


def given(parent: str | None, dataset: str | None, run: str | None) -> dict[str, object]:
    """The arguments for what was given."""
    known = {"parent": parent, "dataset": dataset, "run": run}
    return {name: value for name, value in known.items() if value is not None}
