"""Trains a network on chats for a given time: curriculum, optimisers, learning rate.

The matrices of the layers are optimised with Muon (Jordan et al. 2024), the rest with AdamW. At
first the attention of two heads is guided (Deshpande and Narasimhan 2020): one to the latest id,
the other to the value asked for. In trials without guidance, ids were still confused after 1,000
steps and, in a narrower network, after 4,000; with it they were distinguished after 500. Never
writes files. Needs torch. Imported by `train`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from tools.model_factory import batches, chats, network

POOL = 16  # batches generated together and sorted by length, to reduce padding
REPORT_EVERY_S = 20.0
EPSILON = 1e-4
WHOSE, WHERE = (0, 0), (2, 0)  # layer and head guided to the latest id, and to the value


@dataclass(frozen=True, slots=True)
class Phase:
    """The chats until `until`, a share of the whole time, in batches of `size`."""

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
        """The learning rate as a share of its peak: warm-up, constant, linear decay."""
        rising = min(1.0, (progress + 1e-3) / self.warm_up)
        falling = (1.0 - progress) / (1.0 - self.constant_until)
        return max(0.0, min(rising, falling))

    def guidance(self, progress: float) -> float:
        """The weight of the guidance loss: linear decay to zero."""
        return 0.3 * max(0.0, 1 - progress / self.guided_until)

    def phase(self, progress: float) -> Phase:
        """The phase at `progress`, a share of the whole time."""
        return next((each for each in self.phases if progress < each.until), self.phases[-1])


def learn(
    model: network.Network,
    writer: chats.Writer,
    plan: Plan,
    avoid: frozenset[str],
    clock: Callable[[], float],
) -> int:
    """Train the parameters that require a gradient until `clock` has advanced by `plan.seconds`.

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
        shown = _guidance_loss(attention, WHOSE, batch.whose) + _guidance_loss(
            attention, WHERE, batch.where
        )
        total = loss + guidance * shown
    model.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(learned, 1.0)
    for optimiser, peak in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = peak * share
        optimiser.step()
    return float(loss.detach())


def _guidance_loss(
    attention: Sequence[torch.Tensor], at: tuple[int, int], looks: torch.Tensor
) -> torch.Tensor:
    """The mean negative log of one head's attention to its targets."""
    layer, head = at
    row, place, there = looks.T
    seen = attention[layer][row, head, place, there].float()
    return -(seen + EPSILON).log().mean() if len(looks) else seen.sum()
