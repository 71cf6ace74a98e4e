"""Trains a network on chats for a given time: curriculum, optimisers, learning rate.

Muon (Jordan et al. 2024) turns the matrices of the layers, AdamW the rest. At first two heads are
shown where to look (attention guidance, Deshpande and Narasimhan 2020): one at the last id named,
one at the value asked for. In trials without it ids were still confused after 1,000 and, in a
narrower network, 4,000 steps; with it they were told apart after 500. Never writes files. Needs
torch; only `train` imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from tools.model_factory import batches, chats, network

POOL = 16  # batches drawn at once and sorted by length, so that little is padded
REPORT_EVERY_S = 20.0
EPSILON = 1e-4
WHOSE, WHERE = (0, 0), (2, 0)  # layer and head that are shown whose a value is, and where it stands


@dataclass(frozen=True, slots=True)
class Phase:
    """What is learned until `until`, a share of the whole time, in batches of `size` chats."""

    until: float
    size: int
    mixture: chats.Mixture


@dataclass(frozen=True, slots=True)
class Plan:
    """One training: its phases, seconds of wall time, and the peak learning rates."""

    phases: Sequence[Phase]
    seconds: float
    matrix_rate: float
    vector_rate: float
    guided_until: float = 0.6
    constant_until: float = 0.6
    warm_up: float = 0.01

    def rate(self, progress: float) -> float:
        """The learning rate as a share of its peak: up, constant, down in a line."""
        rising = min(1.0, (progress + 1e-3) / self.warm_up)
        falling = (1.0 - progress) / (1.0 - self.constant_until)
        return max(0.0, min(rising, falling))

    def guidance(self, progress: float) -> float:
        """The weight of guided attention beside the loss: less and less, then none."""
        return 0.3 * max(0.0, 1 - progress / self.guided_until)

    def phase(self, progress: float) -> Phase:
        """The phase that `progress`, a share of the whole time, falls into."""
        return next((each for each in self.phases if progress < each.until), self.phases[-1])


def learn(
    model: network.Network,
    writer: chats.Writer,
    plan: Plan,
    avoid: frozenset[str],
    clock: Callable[[], float],
) -> int:
    """Trains what requires a gradient in `model` until `clock` has gone on by `plan.seconds`.

    Returns the number of steps.
    """
    learned = [each for each in model.parameters() if each.requires_grad]
    matrices = [
        each
        for each in learned
        if each.ndim == 2 and each is not model.token_embd.weight  # noqa: PLR2004
    ]
    vectors = [each for each in learned if all(each is not matrix for matrix in matrices)]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (
            torch.optim.Muon(matrices, lr=1.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            plan.matrix_rate,
        )
    ]
    if vectors:
        adam = torch.optim.AdamW(vectors, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)
        optimisers.append((adam, plan.vector_rate))
    ids = writer.ids()
    began = reported = clock()
    smooth, steps, pool = 0.0, 0, list[list[chats.Chat]]()
    while (progress := (clock() - began) / plan.seconds) < 1.0:
        phase = plan.phase(progress)
        if not pool:
            pool = _draw(writer, phase, avoid)
        loss = _step(
            model,
            pool.pop(),
            ids,
            plan.guidance(progress),
            optimisers,
            plan.rate(progress),
            learned,
        )
        steps += 1
        smooth = loss if steps == 1 else 0.98 * smooth + 0.02 * loss
        if clock() - reported > REPORT_EVERY_S:
            reported = clock()
            print(f"{reported - began:6.0f} s  step {steps:5}  loss {smooth:.4f}", flush=True)
    return steps


def _draw(writer: chats.Writer, phase: Phase, avoid: frozenset[str]) -> list[list[chats.Chat]]:
    drawn = [writer.chat(phase.mixture, avoid=avoid) for _ in range(POOL * phase.size)]
    drawn.sort(key=chats.Chat.length)
    pool = [drawn[place : place + phase.size] for place in range(0, len(drawn), phase.size)]
    writer.rng.shuffle(pool)
    return pool


def _step(
    model: network.Network,
    drawn: Sequence[chats.Chat],
    ids: frozenset[int],
    guidance: float,
    optimisers: Sequence[tuple[torch.optim.Optimizer, float]],
    share: float,
    learned: Sequence[nn.Parameter],
) -> float:
    batch = batches.lay_out(drawn, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, attention = model(batch.tokens, batch.positions, batch.mask, batch.wanted)
    loss = functional.cross_entropy(logits.float(), batch.targets)
    total = loss
    if guidance > 0:
        shown = _unseen(attention, WHOSE, batch.whose) + _unseen(attention, WHERE, batch.where)
        total = loss + guidance * shown
    model.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(learned, 1.0)
    for optimiser, peak in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = peak * share
        optimiser.step()
    return float(loss.detach())


def _unseen(
    attention: Sequence[torch.Tensor], at: tuple[int, int], looks: torch.Tensor
) -> torch.Tensor:
    """How little one head looks where it should: mean negative log of the attention there."""
    layer, head = at
    row, place, there = looks.T
    seen = attention[layer][row, head, place, there].float()
    return -(seen + EPSILON).log().mean() if len(looks) else seen.sum()
