"""Everything that reads bytes of strangers, fed with bytes that no one would send.

`python -m tests.fuzz TARGET --seconds 600` lets atheris search (`pip install atheris`);
`python -m tests.fuzz.requests` lets schemathesis do so by the OpenAPI document. What either finds
goes into `cases/TARGET/` and is tried by `test_cases` ever after.
"""
