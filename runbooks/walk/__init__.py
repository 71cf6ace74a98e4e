"""Walking a run of a runbook: look, decide, act, verify, take back, branch.

Imported by `runbooks.driving`; `runbooks` and its drills use the box of `runbooks.walk.box`.
"""
