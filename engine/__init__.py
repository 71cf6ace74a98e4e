"""What happens: tokens, batches, traffic, meters, and the controllers that run unattended.

Imports `storage` only. It does not know that it is watched.
"""
