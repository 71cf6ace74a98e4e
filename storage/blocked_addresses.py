"""Addresses that no webhook and no notification is sent to: link-local ones and metadata services.

On a machine of a cloud the metadata service hands out the machine's credentials to any process
that asks. A receiver on loopback or in a private network is not refused: on one box that is where
an Alertmanager or a relay is. Pure. Imported by every package.
"""

from __future__ import annotations

import ipaddress
from typing import Final

WHY: Final = "its address is link-local or a cloud's metadata service, to which nothing is sent"

_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        # AWS by IPv6, Alibaba Cloud, Oracle Cloud, Azure; the others are link-local
        ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "instance-data"})


def blocked(host: str) -> bool:
    """Whether a host, a name or an address, must not be sent to.

    A name may resolve to a blocked address: who connects checks the address of the peer, too.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host.rstrip(".").lower() in _NAMES
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    found = mapped or address
    return found.is_link_local or found.is_multicast or found in _METADATA
