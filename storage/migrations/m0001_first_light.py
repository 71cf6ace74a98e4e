"""Schema 1: what the first issue keeps.

Times are UTC microseconds. Rows that grow without end (requests, samples) are found by number or
by second, never by counting.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE models (
  id INTEGER PRIMARY KEY,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  kind TEXT NOT NULL,
  base_id INTEGER REFERENCES models (id),
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  architecture TEXT NOT NULL,
  parameters INTEGER NOT NULL,
  quantisation TEXT NOT NULL,
  context_tokens INTEGER NOT NULL,
  licence TEXT,
  standing TEXT NOT NULL,
  standing_reason TEXT,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  UNIQUE (model, version)
) STRICT;

CREATE TABLE prompts (
  id INTEGER PRIMARY KEY,
  prompt TEXT NOT NULL,
  number INTEGER NOT NULL,
  messages TEXT NOT NULL,
  variables TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  author TEXT NOT NULL,
  comment TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  UNIQUE (prompt, number)
) STRICT;

CREATE TABLE prompt_labels (
  prompt TEXT NOT NULL,
  label TEXT NOT NULL,
  number INTEGER NOT NULL,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER,
  PRIMARY KEY (prompt, label),
  FOREIGN KEY (prompt, number) REFERENCES prompts (prompt, number)
) STRICT;

CREATE TABLE releases (
  number INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  model_version_id INTEGER NOT NULL REFERENCES models (id),
  prompt_version_id INTEGER REFERENCES prompts (id),
  sampling TEXT NOT NULL,
  limits TEXT NOT NULL,
  engine TEXT NOT NULL,
  worker TEXT NOT NULL,
  lane TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  comment TEXT NOT NULL
) STRICT;
CREATE INDEX releases_by_worker ON releases (worker);

CREATE TABLE splits (
  id INTEGER PRIMARY KEY,
  service TEXT NOT NULL,
  salt TEXT NOT NULL,
  arms TEXT NOT NULL,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER
) STRICT;
CREATE INDEX splits_by_service ON splits (service, id);

CREATE TABLE services (
  name TEXT PRIMARY KEY,
  split_id INTEGER NOT NULL REFERENCES splits (id),
  record_text INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE knobs (
  id INTEGER PRIMARY KEY,
  worker TEXT NOT NULL,
  name TEXT NOT NULL,
  value INTEGER NOT NULL,
  previous INTEGER,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER
) STRICT;
CREATE INDEX knobs_by_worker ON knobs (worker, name, id);

CREATE TABLE keys (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  tenant TEXT NOT NULL,
  synthetic INTEGER NOT NULL,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  revoked_at_us INTEGER
) STRICT;

CREATE TABLE requests (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  at_us INTEGER NOT NULL,
  service TEXT NOT NULL,
  release INTEGER,
  worker TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  class TEXT NOT NULL,
  synthetic INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  queue_us INTEGER NOT NULL,
  ttft_us INTEGER,
  latency_us INTEGER NOT NULL,
  busy_us INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  finish_reason TEXT,
  error_code TEXT,
  seed INTEGER
) STRICT;
CREATE INDEX requests_by_time ON requests (at_us);
CREATE INDEX requests_by_service ON requests (service, number);
CREATE INDEX requests_not_ok ON requests (outcome, number) WHERE outcome <> 'ok';
CREATE INDEX requests_not_ok_by_service ON requests (service, outcome, number)
  WHERE outcome <> 'ok';

CREATE TABLE request_texts (
  request_id TEXT PRIMARY KEY,
  at_us INTEGER NOT NULL,
  prompt TEXT NOT NULL,
  completion TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_texts_by_time ON request_texts (at_us);

CREATE TABLE feedback (
  id INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  score INTEGER NOT NULL,
  correct INTEGER,
  comment TEXT,
  key_id INTEGER NOT NULL,
  UNIQUE (request_id, key_id)
) STRICT;
CREATE INDEX feedback_by_time ON feedback (at_us);

CREATE TABLE samples (
  kind TEXT NOT NULL,
  second INTEGER NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, second, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE processes (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  pid INTEGER,
  state TEXT NOT NULL,
  reason TEXT,
  started_at_us INTEGER NOT NULL,
  restarts INTEGER NOT NULL,
  model_version_id INTEGER,
  sha256 TEXT,
  build TEXT
) STRICT;

CREATE TABLE nodes (
  id INTEGER PRIMARY KEY,
  pid INTEGER NOT NULL,
  started_at_us INTEGER NOT NULL,
  host TEXT NOT NULL,
  version TEXT NOT NULL,
  stopped_at_us INTEGER
) STRICT;

CREATE TABLE intents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  role TEXT NOT NULL,
  verb TEXT NOT NULL,
  target TEXT NOT NULL,
  arguments TEXT NOT NULL,
  reason TEXT NOT NULL,
  seen INTEGER,
  state TEXT NOT NULL,
  outcome TEXT,
  claimed_by TEXT,
  ended_at_us INTEGER
) STRICT;
CREATE INDEX intents_by_state ON intents (state, id);

CREATE TABLE ledger (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  verb TEXT NOT NULL,
  noun TEXT NOT NULL,
  key TEXT NOT NULL,
  before TEXT,
  after TEXT,
  intent_id INTEGER
) STRICT;
CREATE INDEX ledger_by_key ON ledger (noun, key, id);
"""


async def up(connection: AsyncConnection) -> None:
    """Create everything."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
