"""Measurements as files: the tables that can be written, and the formats in which.

Rows are read a stretch at a time and written as they come, so that a year takes no more memory than
a day. Imported by `app.commands.measures`.
"""
