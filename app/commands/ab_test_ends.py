"""`paddock ab-tests stop` and `promote`: how a person ends a test.

Imported by `app.commands.ab_tests` and `ab_test_starts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from app import ab_test_view, session
from app.commands import options
from storage import ab_tests
from storage.ab_tests import AbTest
from storage.errors import NotFound
from storage.store import Session

app = options.group()


@app.command()
async def stop(
    service: options.Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Stop the test without a result. All traffic goes back to the control."""
    effect = "stop; all traffic back to the control"
    await _ask("ab_tests.stop", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def promote(
    service: options.Service,
    to: Annotated[
        str | None, typer.Option("--to", help="The arm, where no winner was found: r2")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Point this label at its prompt version.")
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Give an arm all of the traffic. By default the winner; a running test ends."""
    more = {"release": to, "label": label}
    arguments = {name: value for name, value in more.items() if value is not None}
    effect = f"all traffic to {to or 'the winner'}"
    await _ask(
        "ab_tests.promote", service, effect, arguments, reason, yes=yes, as_json=as_json,
        versioned=True,
    )  # fmt: skip


async def _ask(
    verb: str,
    service: str,
    effect: str,
    more: Mapping[str, object],
    reason: str,
    *,
    yes: bool,
    as_json: bool,
    versioned: bool = False,
) -> None:
    async with session.reading() as s:
        test = await find(s, service)
    known = f"{service}  A/B test {test.id} ({ab_test_view.result(test)})"
    await session.act(
        verb,
        service,
        {"ab_test": test.id, **more},
        f"{known}  {effect}",
        reason,
        yes=yes,
        as_json=as_json,
        expected_version=test.version if versioned else None,
    )


async def find(s: Session, service: str, id: int | None = None) -> AbTest:
    """A test of a service; without a number the newest.

    Raises:
        NotFound: the service has had none, or not this one.
    """
    found = await ab_tests.latest(s, service) if id is None else await ab_tests.find(s, id)
    if found is None or found.service != service:
        raise NotFound(
            f"{service} has had no {'A/B test' if id is None else f'A/B test {id}'}; "
            f"`paddock ab-tests list {service}` shows those that it had."
        )
    return found
