"""What people do: named steps, each with look, do, verify and undo.

Imports `storage` only, and asks through the control socket as people do.
"""
