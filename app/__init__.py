"""What people see: screens, keys and commands; each screen action has its command-line twin.

Imports `runbooks` and `storage`, never `engine`: a terminal must not load libllama.
"""
