"""How the engine's processes communicate: sockets, peers, addresses, and silence."""
