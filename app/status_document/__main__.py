"""Prints the JSON Schema of the document, for docs/status.schema.json."""

from __future__ import annotations

import json
import sys

from app import status_document

sys.stdout.write(json.dumps(status_document.json_schema(), indent=2) + "\n")
