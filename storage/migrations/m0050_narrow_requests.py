"""Schema 50: a request takes a third of the room.

What many requests share (service, release, instance, key, how it ended …) is a row of
`request_facets`; an id of the gateway's own is kept as its bytes. Indexes with an entry for each
request give way to blocks of 256 requests: when those of a block arrived, and which facets they
have. `requests` is a view of the rows as they were.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE request_facets (
  id INTEGER PRIMARY KEY,
  service TEXT NOT NULL,
  release INTEGER NOT NULL,
  worker TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  class TEXT NOT NULL,
  synthetic INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  finish_reason TEXT NOT NULL,
  error_code TEXT NOT NULL,
  UNIQUE (service, release, worker, endpoint, key_id, tenant, class, synthetic, stream, outcome,
          finish_reason, error_code)
) STRICT;

INSERT INTO request_facets (service, release, worker, endpoint, key_id, tenant, class, synthetic,
    stream, outcome, finish_reason, error_code)
  SELECT DISTINCT service, coalesce(release, 0), worker, endpoint, key_id, tenant, class, synthetic,
    stream, outcome, coalesce(finish_reason, ''), coalesce(error_code, '')
  FROM requests;

CREATE TABLE request_rows (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id ANY NOT NULL UNIQUE,
  at_us INTEGER NOT NULL,
  facet INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  queue_us INTEGER NOT NULL,
  ttft_us INTEGER,
  latency_us INTEGER NOT NULL,
  busy_us INTEGER NOT NULL,
  seed INTEGER,
  ab_test INTEGER,
  unit TEXT,
  cached_tokens INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO request_rows
  SELECT r.number, request_key(r.id), r.at_us, f.id, r.prompt_tokens, r.completion_tokens,
         r.queue_us, r.ttft_us, r.latency_us, r.busy_us, r.seed, r.ab_test, r.unit, r.cached_tokens
  FROM requests r CROSS JOIN request_facets f
  WHERE f.service = r.service AND f.release = coalesce(r.release, 0) AND f.worker = r.worker
    AND f.endpoint = r.endpoint AND f.key_id = r.key_id AND f.tenant = r.tenant
    AND f.class = r.class AND f.synthetic = r.synthetic AND f.stream = r.stream
    AND f.outcome = r.outcome AND f.finish_reason = coalesce(r.finish_reason, '')
    AND f.error_code = coalesce(r.error_code, '')
  ORDER BY r.number;

CREATE INDEX request_rows_by_ab_test ON request_rows (ab_test, number) WHERE ab_test IS NOT NULL;

INSERT INTO sqlite_sequence (name, seq)
  SELECT 'request_rows', 0 WHERE NOT EXISTS
    (SELECT 1 FROM sqlite_sequence WHERE name = 'request_rows');

UPDATE sqlite_sequence
  SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'requests'), 0))
  WHERE name = 'request_rows';

CREATE TABLE request_blocks (
  block INTEGER PRIMARY KEY,
  least_at_us INTEGER NOT NULL,
  most_at_us INTEGER NOT NULL
) STRICT;

INSERT INTO request_blocks
  SELECT number / 256, min(at_us), max(at_us) FROM request_rows GROUP BY 1;

CREATE TABLE request_block_facets (
  facet INTEGER NOT NULL,
  block INTEGER NOT NULL,
  PRIMARY KEY (facet, block)
) STRICT, WITHOUT ROWID;

INSERT INTO request_block_facets SELECT DISTINCT facet, number / 256 FROM request_rows;

CREATE TABLE feedback_of_keys (
  id INTEGER PRIMARY KEY,
  request_id ANY NOT NULL,
  at_us INTEGER NOT NULL,
  score INTEGER NOT NULL,
  correct INTEGER,
  comment TEXT,
  key_id INTEGER NOT NULL,
  UNIQUE (request_id, key_id)
) STRICT;

INSERT INTO feedback_of_keys
  SELECT id, request_key(request_id), at_us, score, correct, comment, key_id FROM feedback;

DROP TABLE feedback;

ALTER TABLE feedback_of_keys RENAME TO feedback;

CREATE INDEX feedback_by_time ON feedback (at_us);

DROP TABLE requests;

CREATE VIEW requests AS
  SELECT r.number,
         CASE typeof(r.id) WHEN 'blob' THEN 'req_' || lower(hex(r.id)) ELSE r.id END AS id,
         r.id AS key, r.at_us, r.facet, f.service, nullif(f.release, 0) AS release, f.worker,
         f.endpoint, f.key_id, f.tenant, f.class, f.synthetic, f.stream, r.prompt_tokens,
         r.completion_tokens, r.queue_us, r.ttft_us, r.latency_us, r.busy_us, f.outcome,
         nullif(f.finish_reason, '') AS finish_reason, nullif(f.error_code, '') AS error_code,
         r.seed, r.ab_test, r.unit, r.cached_tokens
  FROM request_rows r CROSS JOIN request_facets f ON f.id = r.facet;
"""


async def up(connection: AsyncConnection) -> None:
    """Move the rows; the file keeps its size, and what is free in it is used again."""
    here: Any = connection
    database = here.connection.connection.driver_connection
    database.create_function("request_key", 1, key, deterministic=True)
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)


def key(id: str) -> str | bytes:
    """An id as it is stored: `req_` and pairs of hex digits as their bytes."""
    digits = id.removeprefix("req_")
    if digits in {id, ""} or len(digits) % 2 or digits.strip("0123456789abcdef"):
        return id
    return bytes.fromhex(digits)
