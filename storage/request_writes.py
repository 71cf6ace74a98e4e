"""How requests that have ended are written: their facets, their rows, and the blocks they are in.

A hundred of them come in a second, so all of it is one turn (`storage.store.at_once`), of SQL as
the database takes it. Never reads what others wrote but to number it. Imported by
`storage.requests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from storage.request_blocks import SIZE
from storage.request_rows import Facet
from storage.store import Cursor

Row = tuple[Facet, tuple[Any, ...]]
"""A request's facet, and what it does not share in the order of `_ROW`; its id comes first."""


_LAST: Final = "SELECT coalesce(max(number), 0) FROM request_rows"
_FACET: Final = """
SELECT id FROM request_facets
WHERE service = ? AND release = ? AND worker = ? AND endpoint = ? AND key_id = ? AND tenant = ?
  AND class = ? AND synthetic = ? AND stream = ? AND outcome = ? AND finish_reason = ?
  AND error_code = ?
"""
_NEW_FACET: Final = """
INSERT INTO request_facets (service, release, worker, endpoint, key_id, tenant, class, synthetic,
                            stream, outcome, finish_reason, error_code)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ROW: Final = """
INSERT INTO request_rows (id, at_us, prompt_tokens, completion_tokens, queue_us, ttft_us,
                          latency_us, busy_us, seed, ab_test, unit, cached_tokens, facet)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO NOTHING
"""
_NEW: Final = "SELECT id FROM request_rows WHERE number > ?"
_BLOCKS: Final = """
INSERT INTO request_blocks (block, least_at_us, most_at_us)
  SELECT number / :size, min(at_us), max(at_us) FROM request_rows WHERE number > :after GROUP BY 1
  ON CONFLICT (block) DO UPDATE
    SET least_at_us = min(least_at_us, excluded.least_at_us),
        most_at_us = max(most_at_us, excluded.most_at_us)
"""
_BLOCK_FACETS: Final = """
INSERT INTO request_block_facets (facet, block)
  SELECT DISTINCT facet, number / :size FROM request_rows WHERE number > :after
  ON CONFLICT (facet, block) DO NOTHING
"""


def insert(cursor: Cursor, rows: Sequence[Row]) -> set[str | bytes]:
    """Insert requests in the order given, and enter them in their blocks.

    Returns the ids, as they are stored, of those that were not there yet; others change nothing.
    """
    if not rows:
        return set()
    (before,) = cursor.execute(_LAST).fetchone()
    numbers = {facet: numbered(cursor, facet) for facet in {row[0] for row in rows}}
    cursor.executemany(_ROW, [(*own, numbers[facet]) for facet, own in rows])
    if cursor.rowcount == len(rows):
        new = {own[0] for _, own in rows}
    else:
        new = {id for (id,) in cursor.execute(_NEW, (before,))}
    for statement in (_BLOCKS, _BLOCK_FACETS):
        cursor.execute(statement, {"size": SIZE, "after": before})
    return new


def numbered(cursor: Cursor, facet: Facet) -> int:
    """The number of a facet; a new one gets the next."""
    found = cursor.execute(_FACET, facet).fetchone()
    if found is None:
        return cursor.execute(_NEW_FACET, facet).lastrowid or 0
    return int(found[0])
