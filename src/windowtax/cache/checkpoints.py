"""Checkpoints of states. A layer that folds its tokens into a state goes on only from where that state was kept.

A checkpoint is a block of the states' own pool, filed with the kept block behind whose last token the states stood: one
more place of that block. It is made where it is likely to be read again: at the end of a prompt, where another prompt
leaves this one, where a sequence ends (as Pan et al. 2024, Marconi, arXiv 2411.19379, section 4.1), and in between so
seldom that checkpoints take no more bytes than the rows (`CacheLayout.checkpoint_blocks`).

Whoever begins at a checkpoint gets a copy of it, so nobody holds one: when a state is needed, the one that was used
longest ago goes (docs/decisions/0012).
"""

from collections.abc import Mapping, Sequence
from typing import cast

from windowtax.cache.blocks import BlockBytes
from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.keeping import Chain, KeepingCache


class CheckpointedCache(KeepingCache):
    """A cache manager that knows where states are to be kept, and takes blocks for them before a step."""

    _copies: BlockBytes | None = None

    def bind(self, store: BlockBytes) -> None:
        super().bind(store)
        self._copies = store

    def reserve(self, sequence_id: str, num_computed: int, num_new: int) -> bool:
        if not super().reserve(sequence_id, num_computed, num_new):
            return False
        self._plan(sequence_id, num_computed, num_computed + num_new)
        return True

    def promote(self, sequence_id: str, token_ids: Sequence[int], salt: str, num_new: int) -> int | None:
        moved = super().promote(sequence_id, token_ids, salt, num_new)
        chain = self._chains.get(sequence_id)
        if moved is not None and chain is not None:
            chain.wanted, chain.num_checked = {(len(token_ids) - 1) // self.layout.block_size}, chain.num_kept
            self._plan(sequence_id, chain.num_computed, chain.num_computed + num_new)
        return moved

    def checkpoints(self, sequence_id: str) -> Mapping[int, Mapping[int, int]]:
        chain = self._chains.get(sequence_id)
        return {} if chain is None else chain.planned

    def _plan(self, sequence_id: str, start: int, end: int) -> None:
        """Takes blocks for the checkpoints behind the tokens start ... end - 1, as far as there are any to be had."""
        chain, size = self._chains.get(sequence_id), self.layout.block_size
        if chain is None or not self._states:
            return
        spacing = self.layout.checkpoint_blocks
        for count in range(start // size + 1, end // size + 1):
            far = spacing is not None and count - chain.num_checked >= spacing
            if (not far and count not in chain.wanted) or count * size in chain.planned:
                continue
            if not self._has_states(chain, count):
                if not all(self.pools[group].num_free or self._idle[group] for group in self._states):
                    return
                chain.planned[count * size] = {group: self._take(group) for group in self._states}
            chain.num_checked = count

    def _has_states(self, chain: Chain, count: int) -> bool:
        node = self.index.get(chain.keys[count - 1]) if count <= len(chain.keys) else None
        return node is not None and all(self._place(node)[group] is not None for group in self._states)

    def _file_planned(self, chain: Chain) -> None:
        """Files the checkpoints that a step has written."""
        for position in [position for position in chain.planned if position <= chain.num_computed]:
            node = self._kept(chain.keys[position // self.layout.block_size - 1])
            self._keep_states(node, chain.planned.pop(position))

    def _end_states(self, sequence_id: str) -> None:
        """Keeps the states of a sequence that ends, where they stand behind its last kept block; takes back blocks for
        checkpoints that nobody will write."""
        chain = self._chains.get(sequence_id)
        if chain is None or sequence_id not in self._tables:
            return
        for blocks in chain.planned.values():
            for group, block in blocks.items():
                self._give_back(group, [block])
        chain.planned.clear()
        tables = self._tables[sequence_id]
        if not (chain.has_states and chain.num_kept and all(tables[group].blocks for group in self._states)):
            return
        node = self._kept(chain.keys[chain.num_kept - 1])
        if node.depth * self.layout.block_size + len(node.content) == chain.num_computed:
            self._keep_states(node, {group: tables[group].blocks.pop() for group in self._states})

    def _keep_states(self, node: CachedBlock, blocks: Mapping[int, int]) -> None:
        place = self._place(node)
        for group, block in blocks.items():
            if place[group] is None:
                place[group] = block
                self._idle[group][block] = node
            else:
                self._give_back(group, [block])

    def _restored(self, group: int, node: CachedBlock) -> int:
        """A block with the states behind a kept one, for a sequence that begins there: a copy; where the pool has no
        room for one, the checkpoint itself."""
        place, idle = self._place(node), self._idle[group]
        source = cast(int, place[group])
        del idle[source]
        if not self.pools[group].num_free and not idle:
            place[group] = None
            return source
        block = self._take(group)
        if self._copies is not None:
            self._copies.copy_block(group, source, block)
        idle[source] = node  # the last to go now
        return block

    def _take(self, group: int) -> int:
        """A block of a pool that has one free, or idle."""
        if not self.pools[group].num_free:
            self._drop_idle(group)
        (block,) = self.pools[group].take()
        self._held_bytes += self._block_bytes[group]
        self._peak_bytes = max(self._peak_bytes, self._held_bytes)
        return block
