"""The network of the shipped model: a small Llama with an optional LoRA.

RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings (Touvron et al. 2023;
Ainslie et al. 2023), with rotary pairs interleaved as in llama.cpp's `llama` architecture, so that
weights are written to GGUF as they are. LoRA as in Hu et al. 2021.
Never reads data or files. Needs torch. Imported by `train` and its modules.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of the network; lengths in tokens, widths in values per token."""

    vocabulary: int
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 500_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """The width of an attention head."""
        return self.width // self.heads


class Norm(nn.Module):  # type: ignore[misc]
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) -> (..., width), computed in 32 bits."""
        return functional.rms_norm(x.float(), (x.shape[-1],), self.weight, self.epsilon)


class Linear(nn.Module):  # type: ignore[misc]
    """A linear map without bias that can carry a LoRA: y = (W + alpha / r * B A) x."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_out, width_in) / math.sqrt(width_in))
        self.lora_a: nn.Parameter | None = None
        self.lora_b: nn.Parameter | None = None
        self.scale = 0.0

    def add_lora(self, rank: int, alpha: float) -> None:
        """Freeze the weight and add an adapter that is zero at first."""
        width_out, width_in = self.weight.shape
        self.weight.requires_grad_(requires_grad=False)
        self.lora_a = nn.Parameter(torch.randn(rank, width_in) / math.sqrt(width_in))
        self.lora_b = nn.Parameter(torch.zeros(width_out, rank))
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width_in) -> (..., width_out)."""
        weight = self.weight
        if self.lora_a is not None and self.lora_b is not None:
            weight = weight + self.scale * (self.lora_b @ self.lora_a)
        return functional.linear(x, weight)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021): x (B, H, T, D), angles (B, 1, T, D / 2)."""
    even, odd = x.float()[..., 0::2], x.float()[..., 1::2]
    cosine, sine = angles.cos(), angles.sin()
    pairs = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return pairs.flatten(-2).to(x.dtype)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Grouped-query attention: q (B, H, T, D), k and v (B, G, T, D), bias (B, 1, T, T).

    Returns the output (B, H, T, D) and the attention weights (B, H, T, T).
    Written out: on rows as short as ours it is faster on a CPU than the fused kernels.
    """
    batch, heads, length, width = q.shape
    groups = k.shape[1]
    grouped = q.reshape(batch, groups, heads // groups * length, width) / math.sqrt(width)
    scores = (grouped @ k.transpose(-2, -1)).view(batch, heads, length, length)
    weights = (scores + bias).softmax(dim=-1, dtype=scores.dtype)
    mixed = weights.view(batch, groups, heads // groups * length, length) @ v
    return mixed.view(batch, heads, length, width), weights


class Block(nn.Module):  # type: ignore[misc]
    """One layer: attention, then feed-forward, each with a residual connection."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm = Norm(shape.width, shape.norm_epsilon)
        self.attn_q = Linear(shape.width, shape.width)
        self.attn_k = Linear(shape.width, kv_width)
        self.attn_v = Linear(shape.width, kv_width)
        self.attn_output = Linear(shape.width, shape.width)
        self.ffn_norm = Norm(shape.width, shape.norm_epsilon)
        self.ffn_gate = Linear(shape.width, shape.feed_forward)
        self.ffn_up = Linear(shape.width, shape.feed_forward)
        self.ffn_down = Linear(shape.feed_forward, shape.width)
        with torch.no_grad():
            for last in (self.attn_output, self.ffn_down):
                last.weight.mul_(1 / math.sqrt(2 * shape.layers))

    def forward(
        self, x: torch.Tensor, angles: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer for x (B, T, width), angles (B, 1, T, D / 2), bias (B, 1, T, T).

        Returns the new x and the attention weights (B, H, T, T).
        """
        batch, length, width = x.shape
        normal = self.attn_norm(x)

        def heads(projection: Linear, count: int) -> torch.Tensor:
            return projection(normal).view(batch, length, count, -1).transpose(1, 2)

        q = rotate(heads(self.attn_q, self.shape.heads), angles)
        k = rotate(heads(self.attn_k, self.shape.kv_heads), angles)
        v = heads(self.attn_v, self.shape.kv_heads)
        seen, weights = attend(q, k, v, bias)
        x = x + self.attn_output(seen.transpose(1, 2).reshape(batch, length, width))
        normal = self.ffn_norm(x)
        gate = functional.silu(self.ffn_gate(normal))
        return x + self.ffn_down(gate * self.ffn_up(normal)), weights


class Network(nn.Module):  # type: ignore[misc]
    """Tokens to logits. Parameters have their GGUF names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        nn.init.normal_(self.token_embd.weight, std=0.05)

    def linears(self) -> Iterator[tuple[str, Linear]]:
        """Every linear map of every layer, with its name."""
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                yield name, module

    def add_lora(self, rank: int, alpha: float) -> None:
        """Freeze everything and add an adapter to every linear map."""
        self.requires_grad_(requires_grad=False)
        for _, linear in self.linears():
            linear.add_lora(rank, alpha)

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        wanted: torch.Tensor,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits (N, vocabulary) at the N positions where `wanted` (B, T) is true, and attention.

        tokens and positions are (B, T) integers; mask is (B, T, T), true where a row attends to a
        column. The attention weights are one (B, H, T, T) per layer.
        """
        bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, -1e4)[:, None]
        half = torch.arange(0, self.shape.head_width, 2, device=tokens.device)
        speeds = self.shape.rope_base ** (-half / self.shape.head_width)
        angles = (positions[..., None] * speeds)[:, None]
        x = self.token_embd(tokens)
        attention = []
        for block in self.blk:
            x, weights = block(x, angles, bias)
            attention.append(weights)
        logits = functional.linear(self.output_norm(x[wanted]), self.token_embd.weight)
        return logits, attention
