"""The status lines that processes write to their standard output.

Reads lines; what is not a JSON object of the known fields is ignored, never raised. Imported by
`engine.node`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

LINE_LIMIT: Final = 65536


class StatusLine(msgspec.Struct, frozen=True):
    """One line. In a heartbeat `beat` is anything but null or false.

    `failed` is why the process cannot work; `broken` says that a file is at fault, so that trying
    again does not help. `loaded`: the weights are in memory, so what follows is not their file's
    fault, until `probing`: they are tried. `loading_adapter`, `adapter_loaded`, `adapter_failed`
    name an adapter; the last goes with `failed`, and `adapter_loaded` with the file's `sha256`.
    `how` and `template` say of a ready worker how its `sha256` is known, and the SHA-256 of its
    chat template. `port` is the one that the gateway listens on. `unanswered_us` is how long a
    server has not answered its shim, 0 while it does.
    """

    ready: bool = False
    loading: float | None = None
    beat: float | bool | str | None = None
    step: int = 0
    running: int = 0
    waiting: int = 0
    since_token_us: int = 0
    unanswered_us: int = 0
    failed: str | None = None
    broken: bool = False
    loaded: bool = False
    probing: bool = False
    loading_adapter: str | None = None
    adapter_loaded: str | None = None
    adapter_failed: str | None = None
    adapter_unloaded: str | None = None
    sha256: str | None = None
    how: Literal["hashed", "bound"] | None = None
    template: str | None = None
    build: str | None = None
    port: int | None = None

    @property
    def about_adapter(self) -> bool:
        """Whether it is about an adapter alone."""
        return bool(
            self.loading_adapter
            or self.adapter_loaded
            or self.adapter_failed
            or self.adapter_unloaded
        )


class LineReader:
    """Cuts a byte stream into status lines."""

    def __init__(self) -> None:
        """Nothing is pending."""
        self._pending = b""
        self._decoder = msgspec.json.Decoder(StatusLine, strict=False)

    def feed(self, data: bytes) -> list[StatusLine]:
        """The lines that these bytes complete."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > LINE_LIMIT:
            self._pending = b""
        found: list[StatusLine] = []
        for line in lines:
            try:
                found.append(self._decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return found
