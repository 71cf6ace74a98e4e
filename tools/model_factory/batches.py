"""Lays chats out as tensors: one row per chat; its branches do not attend to each other.

Also marks the attention targets of two heads, for `learning`. Generates nothing. Needs torch.
Imported by `learning`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from tools.model_factory import chats

PADDING = -1
Look = tuple[int, int]  # a position, and the position that it should attend to


@dataclass(frozen=True, slots=True)
class Batch:
    """B chats of at most T tokens, and the N tokens to predict in them."""

    tokens: torch.Tensor  # (B, T)
    positions: torch.Tensor  # (B, T); every branch continues from the end of the beginning
    mask: torch.Tensor  # (B, T, T), true where a row attends to a column
    wanted: torch.Tensor  # (B, T), true where the next token is learned
    targets: torch.Tensor  # (N,)
    whose: torch.Tensor  # (L, 3): row, a position, and the latest id up to it
    where: torch.Tensor  # (M, 3): row, the position before an answer, and that of the value


@dataclass(slots=True)
class _Row:
    tokens: list[int]
    branch: list[int]
    positions: list[int]
    target: list[int]
    whose: list[Look] = field(default_factory=list)
    where: list[Look] = field(default_factory=list)


def lay_out(drawn: Sequence[chats.Chat], ids: Collection[int]) -> Batch:
    """The chats as one batch, padded at the end. `ids` are the tokens of entity ids."""
    rows = [_row(chat, ids) for chat in drawn]
    length = max(len(row.tokens) for row in rows)

    def column(lists: Sequence[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([each + [filler] * (length - len(each)) for each in lists])

    branch = column([row.branch for row in rows], PADDING)
    target = column([row.target for row in rows], PADDING)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = branch[:, :, None] == branch[:, None, :]
    shared = (branch[:, None, :] == 0) & (branch[:, :, None] != PADDING)
    wanted = target != PADDING
    return Batch(
        tokens=column([row.tokens for row in rows], 0),
        positions=column([row.positions for row in rows], 0),
        mask=causal & (same | shared),
        wanted=wanted,
        targets=target[wanted],
        whose=_looks([row.whose for row in rows]),
        where=_looks([row.where for row in rows]),
    )


def _looks(lists: Sequence[Sequence[Look]]) -> torch.Tensor:
    return torch.tensor(
        [(number, *look) for number, looks in enumerate(lists) for look in looks]
    ).reshape(-1, 3)


def _row(chat: chats.Chat, ids: Collection[int]) -> _Row:
    """One chat; branch 0 is its beginning, a target is the token to predict."""
    start = len(chat.beginning)
    row = _Row(list(chat.beginning), [0] * start, list(range(start)), [PADDING] * start)
    row.whose = _last_ids(chat.beginning, ids, 0)
    owner = {place: chat.beginning[last] for place, last in row.whose}
    for number, turns in enumerate(chat.branches, start=1):
        place = len(row.tokens)
        for turn in turns:
            before = len(row.tokens) + len(turn.read) - 1
            row.tokens += turn.read + turn.learned
            row.target += [PADDING] * (len(turn.read) - 1) + turn.learned + [PADDING]
            if turn.clue:
                there = _find(chat.beginning, owner, turn.clue)
                row.where.append((before, there))
                if turn.clue.value and turn.clue.value[0] in turn.learned:
                    row.where.append((before + turn.learned.index(turn.clue.value[0]), there))
        length = len(row.tokens) - place
        row.branch += [number] * length
        row.positions += range(start, start + length)
        row.whose += _last_ids(row.tokens[place:], ids, place)
    return row


def _last_ids(tokens: Sequence[int], ids: Collection[int], offset: int) -> list[Look]:
    """From every position to the latest id up to and including it."""
    looks: list[Look] = []
    last: int | None = None
    for place, token in enumerate(tokens, start=offset):
        last = place if token in ids else last
        if last is not None:
            looks.append((place, last))
    return looks


def _find(tokens: Sequence[int], owner: dict[int, int], clue: chats.Clue) -> int:
    """The position of the value in the notes; 0 if they do not have it."""
    size = len(clue.value)
    for place, owned_by in owner.items():
        if size and owned_by == clue.id and list(tokens[place : place + size]) == clue.value:
            return place
    return 0
