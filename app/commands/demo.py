"""`paddock demo`: a box of its own with the shipped models, under synthetic load.

It acts only in a data directory that a demo made, so that a real box is never touched.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from app import errors, terminal
from app.demo import demo_home
from app.demo.run import Run


def demo(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", metavar="DIR", help="The demo's data directory; also PADDOCK_DEMO_HOME."
        ),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No screen; also with PADDOCK_HEADLESS=1.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="How long to run without a screen.")
    ] = 20.0,
) -> None:
    """A node with the shipped models under synthetic load, and the screen on it."""
    if ctx.find_root().params.get("home") is not None:
        raise errors.BadWord(
            "`paddock --home` names a box in use; write `paddock demo --home DIR`."
        )
    quiet = headless or bool(os.environ.get("PADDOCK_HEADLESS")) or not terminal.interactive()
    run = Run(demo_home.find(home))
    demo_home.take(run.home)
    os.environ["PADDOCK_HOME"] = str(run.home.root)  # of this process and those it starts
    if stopped_by := terminal.run(_play(run, None if quiet else _attended, seconds)):
        raise typer.Exit(128 + stopped_by)


async def _play(run: Run, attended: Callable[[Run], Awaitable[bool]] | None, seconds: float) -> int:
    """Run the demo to its end, or to SIGTERM; returns the signal that ended it, else 0.

    Signal handlers only set a flag: one that raises is ignored where it strikes a destructor.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    work = asyncio.create_task(_work(run, attended, seconds))
    stopping = asyncio.create_task(stop.wait())
    keep = False
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        keep = work.done() and work.result()
    finally:
        work.cancel()
        stopping.cancel()
        await asyncio.wait({work, stopping})
        if not keep:
            await run.end(stop=run.started or run.stop_wanted)
    if keep:
        terminal.say(
            f"The node keeps running at {run.url} with its synthetic load.\n"
            f"Attach the screen: {demo_home.command(run.home)}\n"
            f"Stop both: {demo_home.command(run.home, 'stop')}"
        )
    return signal.SIGTERM if stop.is_set() else 0


async def _work(
    run: Run, attended: Callable[[Run], Awaitable[bool]] | None, seconds: float
) -> bool:
    """Start everything and wait; whether to keep node and load running afterwards."""
    await run.begin()
    if attended is not None:
        return await attended(run)
    await run.watch(seconds)
    return False


async def _attended(run: Run) -> bool:
    """The screen, until the person quits; whether to keep node and load running."""
    from app import tui  # noqa: PLC0415 the screen is loaded only when there is one

    await tui.attach(run.home)
    if run.started:
        return await terminal.ask_async(
            "Keep the node running, with its synthetic load?", default=False
        )
    run.stop_wanted = await terminal.ask_async(
        "The node was running before this demo. Stop it?", default=False
    )
    return not run.stop_wanted
