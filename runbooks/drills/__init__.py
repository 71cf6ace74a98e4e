"""Drills: a fault injected on a service made for it, and how long the box took to recover.

Imported by `runbooks.runner`; `runbooks.drills.plans` names them for `app`.
"""
