"""Alerts: rules evaluated over recorded series, and what becomes of their alerts.

    recording   the last hours of the exported series, in memory
    sampled     samples of the store as points of them
    measured    what the store says at each round, kept for a restart
    existing    which services, workers and so on there are
    vectors, functions, pairing, evaluate    PromQL over them
    decide      what becomes of a rule's alerts after one evaluation: pure
    act         the moves, in one transaction
    routing, messages    which notifications are due, and their texts: pure
    notify      the notifications that are due, queued in the same transaction
    rounds      all of it every 15 seconds
    delivery    the outbox, until its receivers accept it; apprise in a process of its own
    people      the verbs

State is in the store alone, so a control that is killed resumes where it was. Imported by
`engine.control`.
"""

from engine.control.alerts import people as people
