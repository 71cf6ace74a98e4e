"""The probes of runbooks, a module for what they are of.

Imported by `runbooks.probes`.
"""
