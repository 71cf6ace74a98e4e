"""`python -m engine.control.alerts.apprise_process`: sends one message through apprise, and ends.

The message comes on standard input as JSON, its address too, so that no list of processes shows a
token; the answer goes to standard output. It runs in a separate process because apprise's services
block and may hang; `engine.control.alerts.delivery`, which alone starts it, kills it then.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final

import msgspec

from storage import blocked_addresses

_STATUS: Final = re.compile(r"(?:error|status|code)[=: ]+(\d{3})\b", re.IGNORECASE)


class Message(msgspec.Struct, frozen=True):
    """A message and its destination."""

    url: str
    title: str
    text: str
    status: str


class Answer(msgspec.Struct, frozen=True):
    """Whether it was accepted, and why not."""

    ok: bool
    error: str = ""


def main() -> int:
    """Send the message on standard input."""
    message = msgspec.json.decode(sys.stdin.buffer.read(), type=Message)
    refused = guarded()
    answer = send(message)
    if refused and not answer.ok:
        answer = Answer(ok=False, error=blocked_addresses.WHY)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def guarded() -> list[str]:
    """Refuse connections to blocked addresses from now on, of any library; those refused."""
    refused: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect" or not isinstance(arguments[1], tuple):
            return
        host = str(arguments[1][0])
        if blocked_addresses.blocked(host):
            refused.append(host)
            raise PermissionError(blocked_addresses.WHY)

    sys.addaudithook(hook)
    return refused


def send(message: Message) -> Answer:
    """Send one; the reason of a refusal never quotes the address."""
    import apprise  # noqa: PLC0415 half a second that only this process pays

    target = apprise.Apprise()
    if not target.add(message.url):
        return Answer(ok=False, error="apprise does not know such an address")
    kinds = {"resolved": apprise.NotifyType.SUCCESS, "test": apprise.NotifyType.INFO}
    kind = kinds.get(message.status, apprise.NotifyType.FAILURE)
    with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
        done = target.notify(body=message.text, title=message.title, notify_type=kind)
        said = log.getvalue()
    if done:
        return Answer(ok=True)
    status = _STATUS.search(said)
    why = f"it answered {status[1]}" if status else "it did not accept the message"
    return Answer(ok=False, error=why)


if __name__ == "__main__":
    sys.exit(main())
