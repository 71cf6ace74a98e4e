"""The statistics by which a candidate release is judged: counts and samples in, verdicts out.

Pure: no store, clock, file, socket or asyncio, and no randomness without a seed from the caller.
Imports the standard library, NumPy and SciPy only. Imported by the controllers and by evaluation.
"""
