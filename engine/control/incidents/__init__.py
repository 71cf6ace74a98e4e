"""Incidents: opened by critical alerts or by people, and led to their end by people.

    decide      which alert opens, joins or reopens an incident, and when one is stable: pure
    controller  observes alerts and incidents, and carries out one decision at a time
    people      the verbs

State is in the store alone. Imported by `engine.control`.
"""

from engine.control.incidents import people as people
