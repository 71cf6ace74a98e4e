"""The errors that a driver reports of its GPUs as events: Xids, by card, since the last look.

Registering for them fails on cards, drivers and users without the right: then the result is None,
not an empty list. Called where NVML is, off the loop. Imported by `engine.metering.gpu`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final

_MOST: Final = 100
"""Events of one look: a card that breaks down may report thousands."""


class Xids:
    """Listens for the Xid errors of some cards, each of which may be None."""

    def __init__(self, nvml: Any, handles: Sequence[Any]) -> None:
        self._nvml = nvml
        self._set = ask(nvml.nvmlEventSetCreate, default=None)
        self._known: dict[int | None, int] = {}
        if self._set is None:
            return
        for index, handle in enumerate(handles):
            if handle is not None and self._register(handle):
                self._known[_address(handle)] = index

    def since_last(self) -> dict[int, tuple[int, ...]]:
        """The Xids by card since the last call; a card that cannot report them is not in it."""
        found: dict[int, list[int]] = {index: [] for index in self._known.values()}
        for _ in range(_MOST if found else 0):
            event = ask(self._nvml.nvmlEventSetWait, self._set, 0, default=None)
            if event is None:  # there is none, or the driver is gone
                break
            index = self._known.get(_address(event.device))
            if index is not None:
                found[index].append(int(event.eventData))
        return {index: tuple(xids) for index, xids in found.items()}

    def close(self) -> None:
        """Stop listening."""
        if self._set is not None:
            ask(self._nvml.nvmlEventSetFree, self._set, default=None)

    def _register(self, handle: Any) -> bool:
        kind = self._nvml.nvmlEventTypeXidCriticalError
        try:
            self._nvml.nvmlDeviceRegisterEvents(handle, kind, self._set)
        except Exception:  # noqa: BLE001 NVML's errors, and functions missing in the driver
            return False
        return True


def ask(question: Callable[..., Any], *arguments: Any, default: Any) -> Any:
    """The answer of a function of NVML, or the default where it has none."""
    try:
        return question(*arguments)
    except Exception:  # noqa: BLE001 NVML's errors, and functions missing in the driver
        return default


def _address(handle: Any) -> int | None:
    """The identity of a card: NVML's pointer to it."""
    return ctypes.cast(handle, ctypes.c_void_p).value
