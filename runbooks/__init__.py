"""What people do: named steps, each with look, do, verify and undo.

Imports `storage` only, and asks at the node's door as people do.
"""
