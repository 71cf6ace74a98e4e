"""The store as of a past moment: what services, processes, rollouts and alerts were then.

Nothing is recorded for it. The ledger has each change with the value before it, splits and events
are only ever added, and so the past follows from rows that are kept anyway. What is not known of
that moment is None, never the current value. A module for each noun; all of them only read.
Imported by `app`.
"""
