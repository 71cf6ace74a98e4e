"""Attacks on a running box, and what they cost its other clients.

`python -m tests.acceptance.attacks` runs them one after the other and prints a table: the attack,
another client's p95 latency before and during it, its streams that were cut, and the seconds until
the box had recovered. `make soak` holds each row to its bounds. An attacker is a process of its
own with a key of a tenant of its own, or with none; it has `SECONDS` and ends by itself.
"""
