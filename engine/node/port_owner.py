"""Finds the process that listens on the gateway's port. Never signals it.

Imported by `engine.node.node`.
"""

from __future__ import annotations

import psutil


def find(port: int) -> str | None:
    """The process that listens on a TCP port, as a clause; None if it cannot be found out.

    Only root sees the processes of other users.
    """
    try:
        for each in psutil.net_connections(kind="tcp"):
            listens = each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
            if listens and each.pid:
                return f"process {each.pid} ({psutil.Process(each.pid).name()}) listens on it"
    except (psutil.Error, OSError):
        return None
    return None
