"""Which release answers a request. Pure; no I/O."""
