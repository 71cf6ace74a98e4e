"""What the engine's processes speak by: sockets that stay, peers, addresses, and silence."""
