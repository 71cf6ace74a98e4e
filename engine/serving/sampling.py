"""Samples tokens: logits (B, V) and each row's parameters in, one token per row out.

Many rows are drawn in one pass, few of them one by one, which takes less time: the same tokens.

Temperature comes first; then top-k, top-p over what top-k left, and min-p relative to the best
filter the tempered distribution; one uniform number per row picks from what remains. Exact: no
filter is approximated. A row without a finite maximum is no distribution and gets no token; where
the maximum is needed anyway, that costs nothing.

- Top-k by block maxima: the k-th largest maximum of disjoint blocks bounds the k-th largest value
  from below, so one comparison leaves a handful that is then sorted.
- Top-p: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".
- Min-p: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling".
- The uniform number of a row is a hash of (seed, position), the counter-based way of Salmon et al.
  2011, "Parallel Random Numbers: As Easy as 1, 2, 3", with the mixer of Steele, Lea and Flood 2014,
  "Fast Splittable Pseudorandom Number Generators": independent of what else is in the batch.

Knows nothing of requests. Imports only NumPy. Imported by `step_io`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNREAL: Final = -1
"""In place of a token, for a row whose logits hold NaN or infinity, or exclude every token."""

FEW: Final = 4
"""So many rows at most are drawn one by one."""
_BLOCK: Final = 256
_FIRST: Final = 64
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_GOLDEN_INT, _MIX_1_INT, _MIX_2_INT = int(_GOLDEN), int(_MIX_1), int(_MIX_2)
_ALL: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """One entry per row of logits; temperature 0 is greedy, top_k 0, top_p 1, min_p 0 are off."""

    temperature: Floats
    top_k: Ints
    top_p: Floats
    min_p: Floats
    seed: npt.NDArray[np.uint64]
    position: npt.NDArray[np.uint64]


class Best(NamedTuple):
    """The largest logits of each row and their tokens, both (B, K), in any order."""

    tokens: npt.NDArray[np.int32]
    logits: Floats


@dataclass(frozen=True, slots=True)
class Likely:
    """Natural-log probabilities of one row: the chosen token's and the most likely ones'."""

    chosen: float
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def uniforms(seed: npt.NDArray[np.uint64], position: npt.NDArray[np.uint64]) -> Doubles:
    """A number in [0, 1) for each (seed, position); a pure function of the two."""
    with np.errstate(over="ignore"):
        bits = _mix(_mix(seed + _GOLDEN) + (position + np.uint64(1)) * _GOLDEN)
    return (bits >> _11).astype(np.float64) * 2.0**-53


def uniform(seed: int, position: int) -> float:
    """The same for one (seed, position)."""
    bits = _mixed((seed + _GOLDEN_INT) & _ALL)
    return (_mixed((bits + (position + 1) * _GOLDEN_INT) & _ALL) >> 11) * 2.0**-53


def _mixed(bits: int) -> int:
    """`_mix` of one number, which NumPy takes ten times as long for."""
    bits = ((bits ^ (bits >> 30)) * _MIX_1_INT) & _ALL
    bits = ((bits ^ (bits >> 27)) * _MIX_2_INT) & _ALL
    return bits ^ (bits >> 31)


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = (bits ^ (bits >> _30)) * _MIX_1
    bits = (bits ^ (bits >> _27)) * _MIX_2
    return bits ^ (bits >> _31)


def sample(logits: Floats, rows: Rows) -> Ints:
    """One token per row of logits (B, V), or `UNREAL`."""
    greedy = rows.temperature <= 0
    if greedy.all():
        return np.array(most_likely(logits), np.int64)
    picks = uniforms(rows.seed, rows.position)
    limited = ~greedy & (rows.top_k > 0) & (rows.top_k < logits.shape[1])
    if len(logits) <= FEW:
        limited[:] = False
    if limited.all():
        return _limited(logits, rows.top_k, rows, picks)
    tokens = np.empty(len(logits), np.int64)
    if limited.any():
        places = np.flatnonzero(limited)
        part = _part(rows, places)
        tokens[places] = _limited(logits[places], part.top_k, part, picks[places])
    for place in np.flatnonzero(~limited):
        tokens[place] = draw(
            logits[place],
            temperature=float(rows.temperature[place]),
            top_k=int(rows.top_k[place]),
            top_p=float(rows.top_p[place]),
            min_p=float(rows.min_p[place]),
            pick=float(picks[place]),
        )
    return tokens


def draw(
    logits: Floats, *, temperature: float, top_k: int, top_p: float, min_p: float, pick: float
) -> int:
    """A token for one row (V,), or `UNREAL`; `pick` is its `uniform` number."""
    if temperature <= 0:
        return most_likely(logits[None])[0]
    peak = float(logits.max())
    if not math.isfinite(peak):
        return UNREAL
    if 0 < top_k < len(logits):
        ids, values = _head(logits, top_k)
        weights = np.exp((values - peak) / temperature)
        return _pick(ids, weights, weights.cumsum()[-1], top_p, min_p, pick)
    return _unlimited(logits, peak, temperature, top_p, min_p, pick)


def most_likely(logits: Floats) -> list[int]:
    """The most likely token of each row, or `UNREAL`; NaN counts as the largest number here."""
    tokens: list[int] = logits.argmax(axis=1).tolist()
    return [
        token if math.isfinite(logits.item(row, token)) else UNREAL
        for row, token in enumerate(tokens)
    ]


def _part(rows: Rows, places: Ints) -> Rows:
    return Rows(
        rows.temperature[places],
        rows.top_k[places],
        rows.top_p[places],
        rows.min_p[places],
        rows.seed[places],
        rows.position[places],
    )


def best(logits: Floats, k: Ints) -> tuple[Ints, Doubles]:
    """Each row's k best tokens, best first, ties by token: ids and logits, padded with -inf."""
    return _best(logits, k, _maxima(logits, k))


def _best(logits: Floats, k: Ints, maxima: Floats) -> tuple[Ints, Doubles]:
    """The same, from the block maxima: the k-th largest of them bounds the k-th largest logit."""
    rows, size = logits.shape
    floor = maxima[np.arange(rows), maxima.shape[1] - np.minimum(k, maxima.shape[1])]
    flat = np.flatnonzero(logits >= floor[:, None])
    row, token = np.divmod(flat, size)
    counts = np.bincount(row, minlength=rows)
    width = int(counts.max())
    column = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    values = np.full((rows, width), -np.inf)
    ids = np.zeros((rows, width), np.int64)
    values[row, column] = logits.reshape(-1)[flat]
    ids[row, column] = token
    order = np.argsort(-values, axis=1, kind="stable")[:, : int(k.max())]
    values = np.take_along_axis(values, order, 1)
    values[np.arange(values.shape[1]) >= k[:, None]] = -np.inf
    return np.take_along_axis(ids, order, 1), values


def _maxima(logits: Floats, k: Ints) -> Floats:
    """Each row's maxima of disjoint blocks, ascending, NaN last; rather more than k of them."""
    rows, size = logits.shape
    block = _block(size, int(k.max()))
    whole = size // block
    maxima = logits[:, : whole * block].reshape(rows, whole, block).max(axis=2)
    if whole * block < size:
        rest = logits[:, whole * block :].max(axis=1, keepdims=True)
        maxima = np.concatenate((maxima, rest), axis=1)
    return np.sort(maxima, axis=1)


def _block(size: int, k: int) -> int:
    """The length of the blocks."""
    block = _BLOCK
    while block > 1 and size // block < 2 * k:
        block //= 2
    return block


def _limited(logits: Floats, k: Ints, rows: Rows, picks: Doubles) -> Ints:
    """Rows with a top-k: only the k best matter."""
    maxima = _maxima(logits, k)
    real = np.isfinite(maxima[:, -1])
    if not real.all():
        tokens = np.full(len(k), UNREAL, np.int64)
        if (places := np.flatnonzero(real)).size:
            tokens[places] = _limited(logits[places], k[places], _part(rows, places), picks[places])
        return tokens
    ids, values = _best(logits, k, maxima)
    return _draw(ids, values, rows, picks)


def among(best: Best, rows: Rows) -> Ints:
    """One token per row from its `Best` ones, or `UNREAL`: what `sample` gives for all logits.

    Rows are greedy, or have a top-k of at most so many. Between equal logits at the border of a
    top-k the choice may be another.
    """
    values = best.logits.astype(np.float64)
    order = np.lexsort((best.tokens, -values))
    ids = np.take_along_axis(best.tokens, order, 1).astype(np.int64)
    real = np.isfinite(values.max(axis=1))  # a NaN is the largest
    values = np.take_along_axis(values, order, 1)
    k = np.where(rows.temperature > 0, rows.top_k, 1)
    values[np.arange(values.shape[1]) >= k[:, None]] = -np.inf
    values[~real] = 0.0
    warm = replace(rows, temperature=np.where(rows.temperature > 0, rows.temperature, 1.0))
    tokens = _draw(ids, values, warm, uniforms(rows.seed, rows.position))
    return np.where(real, tokens, UNREAL)


def _draw(ids: Ints, values: Doubles, rows: Rows, picks: Doubles) -> Ints:
    """Temper, filter and pick; the logits of a row are sorted and padded with -inf."""
    weights = np.exp((values - values[:, :1]) / rows.temperature[:, None].astype(np.float64))
    total = weights.cumsum(axis=1)[:, -1]  # in order, so that padding changes no bit
    weights = _keep(weights, total, rows.top_p, rows.min_p)
    ladder = weights.cumsum(axis=1)
    column = (ladder <= (picks * ladder[:, -1])[:, None]).sum(axis=1)
    last = (weights > 0).sum(axis=1) - 1
    column = np.minimum(column, last)
    return np.asarray(ids[np.arange(len(ids)), column])


def _keep(weights: Doubles, total: Doubles, top_p: Floats, min_p: Floats) -> Doubles:
    """Zero what top-p and min-p drop; rows are sorted, each first weight is 1."""
    before = weights.cumsum(axis=1) - weights
    nucleus = before < (top_p.astype(np.float64) * total)[:, None]
    nucleus |= (top_p >= 1)[:, None]
    nucleus &= weights >= min_p[:, None]
    nucleus[:, 0] = True
    return np.where(nucleus, weights, 0.0)


def _head(logits: Floats, k: int) -> tuple[Ints, Doubles]:
    """The k best tokens of a row (V,), best first, ties by token, as `best` finds them."""
    block = _block(len(logits), k)
    maxima = logits[: len(logits) // block * block].reshape(-1, block).max(axis=1)
    at = max(len(maxima) - k, 0)
    ids = np.flatnonzero(logits >= np.partition(maxima, at)[at])
    values = logits[ids].astype(np.float64)
    order = np.argsort(-values, kind="stable")[:k]
    return ids[order], values[order]


def _pick(
    ids: Ints, weights: Doubles, total: float, top_p: float, min_p: float, pick: float
) -> int:
    """Filter and pick among the best tokens of a row, whose weights are sorted, the first is 1."""
    if top_p < 1 or min_p > 0:
        kept = weights >= min_p
        if top_p < 1:
            kept &= weights.cumsum() - weights < top_p * total
        kept[0] = True
        weights = np.where(kept, weights, 0.0)
    ladder = weights.cumsum()
    column = int(ladder.searchsorted(pick * ladder[-1], side="right"))
    return int(ids[min(column, int(np.count_nonzero(weights)) - 1)])


def _unlimited(
    logits: Floats, peak: float, temperature: float, top_p: float, min_p: float, pick: float
) -> int:
    """A row without top-k: the normaliser runs over the whole vocabulary."""
    weights = np.exp((logits.astype(np.float64) - peak) / temperature)
    if min_p <= 0 and top_p >= 1:
        ladder = weights.cumsum()
        return int(np.searchsorted(ladder, pick * ladder[-1], side="right"))
    total = weights.sum()
    size = len(logits)
    k = min(_FIRST, size)
    while True:
        ids, values = _head(logits, k)
        head = np.exp((values - peak) / temperature)
        enough = head.sum() >= top_p * total if top_p < 1 else head[-1] < min_p
        if enough or k == size:
            return _pick(ids, head, total, top_p, min_p, pick)
        k = min(k * 8, size)


def likely(logits: Floats, token: int, top: int) -> Likely:
    """Log-probabilities of one row (V,) at temperature 1: the chosen token's and the `top` best.

    A row without a finite maximum gives NaN.
    """
    peak = float(logits.max())
    if not math.isfinite(peak):
        return Likely(math.nan, (), ())
    normaliser = peak + float(np.log(np.exp(logits - peak, dtype=np.float64).sum()))
    if top <= 0:
        return Likely(float(logits[token]) - normaliser, (), ())
    ids, values = best(logits[None], np.array([min(top, len(logits))]))
    return Likely(
        float(logits[token]) - normaliser,
        tuple(int(i) for i in ids[0]),
        tuple(float(v) - normaliser for v in values[0]),
    )
