"""The gateway's address: what cannot be used says why, and what to set instead."""

from __future__ import annotations

import socket

import pytest

from engine.gateway.http import address


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no-such-host.invalid", "cannot be resolved"),
        ("a..b", "cannot be resolved"),
        ("192.0.2.1", "not an address of this machine"),
    ],
)
def test_a_host_that_cannot_be_used_is_not_called_a_taken_port(host: str, said: str) -> None:
    """Nothing listens there that could be stopped."""
    with pytest.raises(address.CannotListen, match=said) as told:
        address.listen(host, 8411)
    assert "stop what listens" not in str(told.value)


def test_a_taken_port_names_itself() -> None:
    """With the two ways out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(address.CannotListen, match=f"port {port} .* stop what listens"):
            address.listen("127.0.0.1", port)
