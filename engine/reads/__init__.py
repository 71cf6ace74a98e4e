"""Reads of the store for members of the group: a process that executes their SELECTs."""
