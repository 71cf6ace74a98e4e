"""The listening socket, or why the configured address cannot be used.

Imported by `python -m engine.gateway` and `listener`.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

BACKLOG: Final = 2048
"""Connections that wait to be accepted."""


class CannotListen(Exception):
    """The configured address cannot be used; the message says what to change."""


def listen(host: str, port: int) -> socket.socket:
    """The listening socket.

    Raises:
        CannotListen: the host is unknown or not of this machine, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = _bound(family, address)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise CannotListen(
            f"host {host!r} under [gateway] in config.toml cannot be resolved: {reason}; "
            "set an address of this machine, such as 127.0.0.1"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise CannotListen(
                f"host {host!r} under [gateway] in config.toml is not an address of this machine; "
                "set one that is, such as 127.0.0.1"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise CannotListen(
                f"port {port} on {host} needs privileges that this user lacks; "
                "set a port from 1024 up under [gateway] in config.toml"
            ) from error
        raise CannotListen(
            f"port {port} on {host} cannot be used: {error.strerror or error}; stop what listens "
            "there, or set another port under [gateway] in config.toml"
        ) from error
    listening.setblocking(False)
    return listening


def _bound(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
