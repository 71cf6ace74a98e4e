"""Schema 21: tags, response schemas and parents of prompt versions; the moves of labels.

The moves are those that the ledger recorded. A release may follow a label.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE prompts ADD COLUMN tag TEXT;

ALTER TABLE prompts ADD COLUMN response_schema TEXT;

ALTER TABLE prompts ADD COLUMN parent INTEGER;

CREATE UNIQUE INDEX prompts_by_tag ON prompts (prompt, tag) WHERE tag IS NOT NULL;

CREATE INDEX prompts_newest ON prompts (prompt, number DESC);

CREATE TABLE prompt_label_moves (
  id INTEGER PRIMARY KEY,
  prompt TEXT NOT NULL,
  label TEXT NOT NULL,
  number INTEGER NOT NULL,
  restores INTEGER REFERENCES prompt_label_moves (id),
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER,
  FOREIGN KEY (prompt, number) REFERENCES prompts (prompt, number)
) STRICT;

CREATE INDEX prompt_label_moves_by_label ON prompt_label_moves (prompt, label, id);

ALTER TABLE prompt_labels ADD COLUMN protected_by TEXT;

ALTER TABLE prompt_labels ADD COLUMN protected_at_us INTEGER;

ALTER TABLE releases ADD COLUMN follows TEXT;

CREATE INDEX releases_by_prompt ON releases (prompt_version_id);
"""
_MOVED: Final = """
SELECT key, after, at_us, actor, intent_id FROM ledger
WHERE noun = 'prompt' AND verb = 'prompts.label' ORDER BY id
"""
_ADD: Final = """
INSERT INTO prompt_label_moves (prompt, label, number, set_at_us, set_by, intent_id)
SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM prompts WHERE prompt = ? AND number = ?)
"""


async def up(connection: AsyncConnection) -> None:
    """Add columns and tables, and read the past moves from the ledger."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
    for row in (await connection.exec_driver_sql(_MOVED)).fetchall():
        prompt, _, label = row.key.partition(":")
        number = json.loads(row.after)
        moved = (prompt, label, number, row.at_us, row.actor, row.intent_id)
        await connection.exec_driver_sql(_ADD, (*moved, prompt, number))
