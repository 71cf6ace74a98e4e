"""The command `paddock`: attaches the screen, or runs one command.

It knows the names of the commands and loads the module of a noun only when it is called, so that
help and completion answer at once. What a command does is in `app.commands`. Imported by the entry
point and tests only.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import typer.core

from app import errors, terminal
from storage.runtime import collector

# name -> (module in app.commands, one line of help). A module holds an `app` of subcommands, or a
# function named after the command.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "status": ("status", "Show what the box is doing now."),
    "doctor": ("doctor", "Check whether the box is healthy, and say what to do."),
    "serve": ("serve", "Run the node here; --detach keeps it running in the background."),
    "stop": ("serve", "Stop the node: answers in progress have 15 seconds to finish."),
    "demo": ("demo", "Run a demo: the shipped models under synthetic load."),
    "backup": ("backups", "Copy the store into a file, beside a running node."),
    "restore": ("backups", "Replace the store with a backup."),
    "apply": ("manifests", "Apply a manifest: make services match it."),
    "diff": ("manifests", "Show what applying a manifest would change."),
    "export": ("manifests", "Print services as a manifest."),
    "freeze": ("freezes", "Freeze the box: nothing that answers requests can be changed."),
    "unfreeze": ("freezes", "Allow changes on the box again."),
    "models": ("models", "Model versions: weights and adapters."),
    "prompts": ("prompts", "Prompt versions and their labels."),
    "releases": ("releases", "Releases: what answers a request, as one immutable tuple."),
    "deployments": ("deployments", "What is loaded for releases, in how many instances."),
    "services": ("services", "Services and the split of their traffic."),
    "rollouts": ("rollouts", "Rollouts: guarded changes of a service's release."),
    "ab-tests": ("ab_tests", "A/B tests: which release is better, on real traffic."),
    "requests": ("requests", "Recorded requests and their answers."),
    "samples": ("samples", "Measured seconds, and sums over any period."),
    "measures": ("measures", "Measurements as files: CSV, JSON lines or Parquet."),
    "alerts": ("alerts", "Alerts, silences, alert rules and receivers of notifications."),
    "cost": ("cost", "What was spent, on what, and a forecast for today."),
    "budgets": ("budgets", "Limits on what keys, services and tenants cost."),
    "scoring": ("scoring", "Automatic checks of recorded answers, by arm."),
    "prices": ("prices", "Prices of a GPU-hour, a kWh and the tokens of upstreams."),
    "keys": ("keys", "Keys of the gateway."),
    "quarantine": ("quarantine", "Templates that are not run because they killed a process."),
    "knobs": ("knobs", "Live settings of the workers."),
    "upstreams": ("upstreams", "OpenAI-compatible servers that answer for releases."),
    "jobs": ("jobs", "Long work such as downloads: progress and logs."),
    "runbooks": ("runbooks", "Named steps for people on call."),
    "incidents": ("incidents", "Incidents: timeline, impact, what changed, post-mortem."),
    "drill": ("drill", "Rehearse faults and measure detection and recovery."),
    "intents": ("intents", "What people asked for, and how it ended."),
    "ledger": ("ledger", "Who changed what, and why."),
}


class _Stub(typer.core.TyperCommand):
    """A command's line in the help, in place of a module that is not loaded yet."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__(name, help=help, short_help=help)


class Nouns(typer.core.TyperGroup):
    """The commands by name; each loaded when it is called."""

    def __init__(self, **options: Any) -> None:
        options["commands"] = {name: _Stub(name, help) for name, (_, help) in COMMANDS.items()}
        super().__init__(**options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was called, out of its module."""
        if args and args[0] in COMMANDS:
            module, help = COMMANDS[args[0]]
            return args[0], load(module, args[0], help), args[1:]
        return super().resolve_command(ctx, args)


def load(module: str, name: str, help: str) -> Any:
    """The command `name` out of its module in `app.commands`."""
    with collector.paused():
        loaded = importlib.import_module(f"app.commands.{module}")
        options = importlib.import_module("app.commands.options")
    group = getattr(loaded, "app", None)
    command: Any
    if group is None:
        alone = options.alone()
        alone.command(name)(getattr(loaded, name))
        command = typer.main.get_command(alone)
    else:
        group.info.help = help
        command = typer.main.get_group(group)  # a noun with one verb is still a noun
    command.name = name
    return command


app = typer.Typer(
    cls=Nouns,
    name="paddock",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def paddock(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="The data directory; else PADDOCK_HOME."),
    ] = None,
    mouse: Annotated[bool, typer.Option("--mouse", help="Let the screen take the mouse.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The control room of one GPU box that serves language models.

    Without a command it attaches the screen; without a terminal it prints the status.
    """
    if home is not None:
        os.environ["PADDOCK_HOME"] = str(home.absolute())
    if version:
        metadata = importlib.import_module("importlib.metadata")
        terminal.say(f"paddock {metadata.version('paddock')}")
        raise typer.Exit
    if ctx.invoked_subcommand is not None:
        return
    if terminal.interactive():
        importlib.import_module("app.commands.attach").attach(mouse=mouse)
    else:
        raise typer.Exit(importlib.import_module("app.commands.status").show(as_json=False))


def main() -> None:
    """Run one command; an expected failure is a sentence on standard error."""
    os.umask(0o077)
    try:
        app()
    except errors.AppError as error:
        terminal.complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output closed it: nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        code = _expected(error)
        if code is None:
            raise
        terminal.complain(str(error))
        sys.exit(code)


def _expected(error: Exception) -> int | None:
    """The exit code of an error of `storage`, None for an unexpected one."""
    family = sys.modules.get("storage.errors")
    if family is None or not isinstance(error, family.StorageError):
        return None
    if isinstance(error, family.NodeIsDown):
        return 3
    return 4 if isinstance(error, family.Unanswered) else 1  # it may still be carried out
