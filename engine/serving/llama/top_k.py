"""The largest logits of each sequence, found by llama.cpp where the logits are.

llama.cpp runs a chain of samplers for each sequence as part of its graph, and then does not copy
the logits to the host. The chain here is a top-k alone: a few candidates of each row come back, and
`sampling.among` draws from them with the seeds and in the arithmetic of the host. llama.cpp's own
filters and draw are not used: its generator keeps a state for each sequence, its parameters are
part of the graph, which every other request would change, and it sums in single precision, so that
rounding can pick a token that a filter dropped.

Chains are attached to all slots of a context or to none, since a row without one has all logits of
its pass copied. Either change builds the graphs anew at the next step. Imported by `context`.
"""

from __future__ import annotations

from typing import Any, Final

import llama_cpp
import numpy as np

from engine.serving import errors, sampling

MOST: Final = 64
"""How many candidates of a row come back."""
_MISSING: Final = (
    "this device cannot filter logits, so they were lost once; ask again, and set the knob "
    "backend_sampling to 1"
)


class TopK:
    """The chains of one context."""

    def __init__(self, context: Any, slots: int, vocabulary: int) -> None:
        """None attached; `context` is libllama's."""
        self._context = context
        self._slots = slots
        self._vocabulary = vocabulary
        self._most = min(MOST, vocabulary)
        self._able = True
        self._chains: list[Any] = []

    @property
    def attached(self) -> bool:
        """Whether steps give candidates instead of logits."""
        return bool(self._chains)

    def attach(self) -> bool:
        """Have steps give candidates; False, and nothing changed, where that cannot be."""
        if not self._able:
            return False
        for slot in range(len(self._chains), self._slots):
            chain: Any = llama_cpp.llama_sampler_chain_init(
                llama_cpp.llama_sampler_chain_default_params()
            )
            top_k: Any = llama_cpp.llama_sampler_init_top_k(self._most)
            llama_cpp.llama_sampler_chain_add(chain, top_k)
            self._chains.append(chain)
            if not llama_cpp.llama_set_sampler(self._context, slot, chain):
                self.detach()
                return False
        return True

    def detach(self) -> None:
        """Have steps give logits."""
        nothing: Any = None
        for slot, chain in enumerate(self._chains):
            llama_cpp.llama_set_sampler(self._context, slot, nothing)
            llama_cpp.llama_sampler_free(chain)
        self._chains.clear()

    def read(self, outputs: int) -> sampling.Best:
        """The candidates of all outputs of the last step, in order; valid until the next one.

        Raises:
            FilterMissing: libllama left the filter out, as this device has no top-k; detached now.
        """
        if not outputs:
            return sampling.Best(np.empty((0, 1), np.int32), np.empty((0, 1), np.float32))
        first = -outputs
        count = int(llama_cpp.llama_get_sampled_candidates_count_ith(self._context, first))
        if count != self._most:
            self._able = False
            self.detach()
            raise errors.FilterMissing(_MISSING)
        tokens: Any = llama_cpp.llama_get_sampled_candidates_ith(self._context, first)
        logits: Any = llama_cpp.llama_get_sampled_logits_ith(self._context, first)
        shape = (outputs, self._vocabulary)
        return sampling.Best(
            np.ctypeslib.as_array(tokens, shape)[:, :count],
            np.ctypeslib.as_array(logits, shape)[:, :count],
        )
