"""`paddock serve` and `paddock stop`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from app import config_file, node_client, session, terminal
from app.commands import options
from storage.errors import NodeIsDown
from storage.home import paths as homes


def serve(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once it serves; it keeps running.")
    ] = False,
) -> None:
    """Run the node here; --detach keeps it running in the background."""
    home = session.home()
    homes.make(home)
    if not homes.begun(home):
        terminal.say(
            f"There is no store in {home.root}: this start makes a new, empty box. If there was "
            "one, stop the node and put the directory back, or name it with PADDOCK_HOME or --home."
        )
    if config_file.write(home.config):
        terminal.say(f"Wrote {home.config} with every setting at its default.")
    node_client.url(home)  # a config.toml that cannot be used fails here, not in a log
    if not detach:
        os.execv(  # noqa: S606 our own interpreter and module
            sys.executable, [sys.executable, "-m", "engine", "--home", str(home.root)]
        )
    node = terminal.run(node_client.start(home, say=terminal.say))
    state = "runs" if node.started else "was running already"
    terminal.say(f"The node {state} at {node.url}; `paddock stop` ends it.")


def stop(reason: options.Reason = "", yes: options.Yes = False) -> None:
    """Stop the node: answers in progress have 15 seconds to finish."""
    home = session.home()
    if not terminal.run(node_client.running(home)):
        said = f"The node of {home.root} is not running, so nothing is stopped"
        raise NodeIsDown(f"{said}; `paddock serve` starts it.")
    effect = f"The node of {home.root}  serves → stopped, for all of its clients"
    agreed = session.agreed("node.stop", "", effect, reason, yes=yes)
    terminal.run(node_client.stop(home, reason=agreed.reason))
    terminal.say("The node has stopped.")
