"""What people see: screens, keys and commands; every screen action has its twin on the command line.

Imports `runbooks` and `storage`, never `engine`: a terminal must not load libllama.
"""
