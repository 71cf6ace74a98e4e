"""Attacks on a running box, and what they cost its other clients.

`python -m tests.acceptance.attacks` runs them one after the other and prints a table: the attack,
another client's p95 latency in quiet time and during it, its streams that were cut, and the seconds
until the box had recovered. `make soak` holds each row to its bounds. An attacker is a separate
process with the key of another tenant, or with none; it ends with the trial.
"""
