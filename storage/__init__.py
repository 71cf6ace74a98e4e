"""What is true: records, the moves that are legal, the ledger of who did what.

Imports nothing of the other floors; every floor may import it.
"""
