"""What people see: screens, keys and commands; each screen action is a command, too.

Imports `runbooks` and `storage`, never `engine`: a terminal must not load libllama.
"""
