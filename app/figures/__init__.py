"""From measurements and records to what screens show: arithmetic alone.

Nothing here reads the store, waits or draws, so that every figure on a screen can be computed by
hand in a test. One module for each thing that is shown. Imported by `app.poller`.
"""
