"""Whether the address of a receiver can be notified at all: checked before it is deposited.

An address holds tokens and is never repeated in an error. Asks no server. Imported by
`app.commands`.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Final

from app import errors
from storage import receivers
from storage.receivers import Kind

_COMMON: Final = ("discord", "mailto", "msteams", "ntfy", "opsgenie", "pagerduty", "slack", "tgram")


def schemes() -> list[str]:
    """The services that apprise knows, as addresses begin with them."""
    return sorted(_apprise().NotificationManager().schemas())


def check(url: str) -> None:
    """Refuse an address of a service that apprise does not know, or that lacks a part.

    Raises:
        storage.errors.Invalid: it names no service, or no host. errors.BadWord: apprise does not
        take it.
    """
    receivers.shown(url)
    if receivers.kind_of(url) is Kind.WEBHOOK:
        return
    apprise = _apprise()
    known = apprise.NotificationManager()
    scheme = url.partition("://")[0].lower()
    if scheme not in known:
        raise errors.BadWord(_unknown(scheme, list(known.schemas())))
    if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
        service = known[scheme]
        why = "a part of it is missing or malformed"
        if not service.enabled:
            why = "this service needs a library that is not installed"
        raise errors.BadWord(
            f"The {scheme}:// address cannot be used: {why}; see {service.setup_url}"
        )


def _apprise() -> ModuleType:
    """A quarter of a second that no other command pays, and deprecations that are not ours."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        apprise = importlib.import_module("apprise")
        apprise.NotificationManager().load_modules()
    return apprise


def _unknown(scheme: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown scheme."""
    known = sorted(known)
    near = difflib.get_close_matches(scheme, known, n=3)
    some = near or [each for each in _COMMON if each in known]
    listed = ", ".join(f"{each}://" for each in some)
    which = f"did you mean {listed}?" if near else f"among others it knows {listed}."
    return (
        f"apprise knows no service {scheme}://; {which} "
        "`paddock alerts receivers services` lists all; a webhook begins with https://."
    )
