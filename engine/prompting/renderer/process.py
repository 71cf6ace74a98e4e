"""`python -m engine.prompting.renderer.process PARENT`: a renderer process.

Serves one pool on descriptor 0, a socket, until that is closed. Imports everything that it needs
and confines itself before it reads a template. Without memory it exits, and the pool starts
another. Started by `child`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Final

from engine.prompting.renderer import confinement, faults, protocol, sandbox
from engine.prompting.renderer.compiled import Cache
from engine.prompting.renderer.protocol import Answer, Fault, Load, Ready, Render

_MESSAGE: Final = 600
"""Characters of a fault that are worth sending."""
_WARMING_S: Final = 1.0
_COMPILING_S: Final = 10.0
"""What compiling may take beyond the time for rendering, for the kernel's backstop."""


def main() -> None:
    """Serve until the pool closes the socket."""
    parent_id = int(sys.argv[1])
    pool = socket.socket(fileno=0)
    _load_everything()
    confinement.confine(parent_id)
    cache = Cache()
    try:
        pool.sendall(protocol.encode(Ready()))
        while (body := _read(pool)) is not None:
            order = protocol.order(body)
            if isinstance(order, Load):
                cache.load(order.key, order.source)
            else:
                pool.sendall(_answer(cache, order))
    except OSError:
        return  # the pool has gone
    except MemoryError:
        os._exit(protocol.OUT_OF_MEMORY)


def _answer(cache: Cache, render: Render) -> bytes:
    confinement.allow_cpu(render.cpu_s + _COMPILING_S)
    try:
        return protocol.encode(cache.answer(render))
    except faults.Unencodable as error:
        return protocol.encode(_fault(faults.TemplateFault(f"its output is not text: {error}")))
    except faults.TemplateFault as fault:
        return protocol.encode(_fault(fault))
    except RecursionError:
        return protocol.encode(_fault(faults.TemplateFault("its values are nested too deeply")))


def _fault(fault: faults.TemplateFault) -> Answer:
    message = str(fault)[:_MESSAGE].encode("utf-8", "replace").decode()
    return Fault(type(fault).__name__, message, fault.line, fault.place)


def _read(pool: socket.socket) -> bytes | None:
    """The next frame; None when the pool has closed the socket."""
    head = pool.recv(protocol.LENGTH.size, socket.MSG_WAITALL)
    if len(head) < protocol.LENGTH.size:
        return None
    (length,) = protocol.LENGTH.unpack(head)
    body = pool.recv(length, socket.MSG_WAITALL)
    return body if len(body) == length else None


def _load_everything() -> None:
    """Let Jinja import what it imports late: after `confine` no file can be opened."""
    box = sandbox.Sandbox(strict=True)
    for source in ("{% if %}", "{{ missing }}", "{{ strftime_now('%d %b %Y') }}{{ [1] | tojson }}"):
        with contextlib.suppress(faults.TemplateFault):
            box.render(box.compile(source), {}, _WARMING_S)
            box.names(source)


if __name__ == "__main__":
    main()
