"""The rule for names of models, prompts, labels, services and keys, said once.

Imported by the nouns.
"""

from __future__ import annotations

import re
from typing import Final

from storage.errors import BadName

PATTERN: Final = "[a-z0-9][a-z0-9_.-]{0,35}"
_NAME: Final = re.compile(PATTERN)


def check(noun: str, name: str) -> str:
    """The name itself.

    Raises:
        BadName: it breaks the rule; the message says the rule.
    """
    if _NAME.fullmatch(name):
        return name
    raise BadName(
        f"{name!r} cannot be the name of a {noun}: names have 1 to 36 characters out of "
        "a-z 0-9 _ . - and begin with a letter or a digit."
    )
