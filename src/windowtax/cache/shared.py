"""The cache manager that keeps prefixes: whole blocks are named by their content, shared by the sequences that begin
alike, and stay when nobody uses them, until somebody needs the room.

Only whole blocks are ever shared, and a sequence writes behind them only, so nothing shared is written again: where a
prompt leaves what is there inside a block, it gets a copy of that block (cache/fork.py).
"""

from collections.abc import Iterator, Sequence
from typing import cast

from windowtax.cache.checkpoints import CheckpointedCache
from windowtax.cache.fork import Begun, Fork, best_fork, longest_span, num_alike
from windowtax.cache.keeping import Chain, Root
from windowtax.cache.offload import Offloaded, OffloadSpace
from windowtax.cache.prefix import begun_key, block_keys
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout


class SharedCache(CheckpointedCache):
    """A cache manager that keeps and shares prefixes."""

    def __init__(
        self,
        layout: CacheLayout,
        num_blocks: Sequence[int],
        *,
        fingerprint: bytes = b"",
        policy: str = "lru",
        space: OffloadSpace | None = None,
    ) -> None:
        super().__init__(layout, num_blocks, fingerprint, policy, space)
        self._wanted: dict[str, list[bytes]] = {}  # by waiting sequence, the names of what it could begin with

    def keys_of(self, token_ids: Sequence[int], salt: str) -> list[bytes]:
        """The names of a prompt's whole blocks. salt: of the tenant; equal prompts under other salts have other
        names."""
        return block_keys(token_ids, self.layout.block_size, self._salted(salt))

    def first_key(self, token_ids: Sequence[int], salt: str) -> bytes:
        """The name of a first block with these tokens, whole or begun."""
        return begun_key(token_ids, (), self._salted(salt))

    def ready(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> bool:
        """False while another sequence computes blocks that this one begins with: equal prompts that come together are
        computed once."""
        if not self.can_share:
            return True
        keys = self._wanted.get(sequence_id)
        if keys is None:
            keys = self._wanted[sequence_id] = self.reusable_keys(token_ids, salt)
        matched = self.index.match(keys)
        others = [chain for other, chain in self._chains.items() if other != sequence_id and other in self._tables]
        if matched == len(keys):
            return not any(self._about_to_end(chain, keys, token_ids, salt) for chain in others)
        computing = [
            chain
            for chain in others
            if chain.num_kept <= matched < len(chain.keys) and chain.keys[matched] == keys[matched]
        ]
        for chain in computing if self._states else ():
            chain.wanted.add(num_alike(chain.keys, keys))  # where this one will leave it
        return not computing

    def _about_to_end(self, chain: Chain, keys: Sequence[bytes], token_ids: Sequence[int], salt: str) -> bool:
        """Whether another sequence is still to compute the end of the same prompt, behind its whole blocks, from where
        it could be copied: its states will be those behind one token more."""
        last, begin = len(token_ids) - 1, len(keys) * self.layout.block_size
        return (
            self._copies is not None
            and not self._states
            and chain.num_computed < last
            and self._continues(chain, keys, self._salted(salt))
            and list(chain.token_ids[begin:last]) == list(token_ids[begin:last]) != []
        )

    def _continues(self, chain: Chain, keys: Sequence[bytes], fingerprint: bytes) -> bool:
        """Whether a sequence begins with these blocks."""
        count = len(keys)
        if chain.fingerprint != fingerprint or len(chain.keys) < count:
            return False
        return not count or chain.keys[count - 1] == keys[count - 1]

    def reusable_keys(self, token_ids: Sequence[int], salt: str) -> list[bytes]:
        """The names of the blocks that a prompt can take from the cache: one token at least is left to compute."""
        return self.keys_of(token_ids[: len(token_ids) - 1], salt)

    def lies_below(self, key: bytes) -> bool:
        """Whether a block is kept in a lower tier; here there is none."""
        return False

    def attach(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        """Gives a new sequence the kept blocks of its prefix, and a copy of the one in which it leaves them; returns
        how many tokens these hold.

        At least one token is left to compute: its logits are not kept.
        """
        if not self.can_share:
            return 0
        chain, size = self._open_chain(sequence_id, token_ids, salt), self.layout.block_size
        if self._states:
            # A sequence that went further may have left its states inside a block; from there no checkpoint is needed.
            count = self.usable(self._reusable(chain), states=False)
            wanted = token_ids[count * size : len(token_ids) - 1][:size]
            if wanted and self._best_fork(chain, count, wanted) is not None:
                found = self._hold(sequence_id, chain, count, states=False)
                forked = self._fork(sequence_id, found)
                if forked:
                    return found + forked
                SharedCache.free(self, sequence_id)  # a subclass would forget more: the sequence does not end here
                chain = self._open_chain(sequence_id, token_ids, salt)
        found = self._hold(sequence_id, chain, self.usable(self._reusable(chain)))
        return found + self._fork(sequence_id, found)

    def attach_whole(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        """The same without a fork and without states: whole blocks alone."""
        if not self.can_share:
            return 0
        chain = self._open_chain(sequence_id, token_ids, salt)
        return self._hold(sequence_id, chain, self.usable(self._reusable(chain)), states=False)

    def _open_chain(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> Chain:
        """The chain of a new sequence. It leaves checkpoints where it leaves what is kept, and at the prompt's end."""
        chain = Chain(self._salted(salt), self.keys_of(token_ids, salt), token_ids=token_ids)
        self._chains[sequence_id] = chain
        self._wanted.pop(sequence_id, None)
        if self._states:
            reusable = self._reusable(chain)
            chain.wanted = {self.index.match(reusable), len(reusable)}
        return chain

    def _reusable(self, chain: Chain) -> Sequence[bytes]:
        return chain.keys[: max(0, len(chain.token_ids) - 1) // self.layout.block_size]

    def _hold(self, sequence_id: str, chain: Chain, count: int, *, states: bool = True) -> int:
        """Makes so many kept blocks those of a sequence, and copies the states behind them; returns their tokens."""
        if not count:
            return 0
        self.index.acquire(chain.keys[:count])
        chain.num_kept = chain.num_checked = count
        tables = [self._shared_table(group, chain.keys, count) for group in range(len(self.pools))]
        self._tables[sequence_id] = tables
        for group in self._trimmed:
            for block in tables[group].blocks:
                self._use(group, block)
        for group in self._states if states else ():
            tables[group].blocks.append(self._restored(group, self._kept(chain.keys[count - 1])))
        self._covered[sequence_id] = chain.num_computed = count * self.layout.block_size
        return chain.num_computed

    def _fork(self, sequence_id: str, found: int) -> int:
        """Copies the block in which a new sequence leaves what is there; returns how many tokens of it are right."""
        chain, depth = self._chains[sequence_id], found // self.layout.block_size
        wanted = chain.token_ids[found : len(chain.token_ids) - 1][: self.layout.block_size]
        if self._copies is None or not wanted or self._best_fork(chain, depth, wanted) is None:
            return 0
        # Looked for once more: the room may have been made of the very block that was to be copied.
        fork = self._best_fork(chain, depth, wanted) if self.reserve(sequence_id, found, 1) else None
        if fork is None:
            return 0
        for group, source in fork.sources.items():
            table = self._tables[sequence_id][group]
            target = table.blocks[depth - table.first] if self._rows[group] else table.blocks[0]
            self._copies.copy_block(group, source, target)
        chain.num_computed, chain.has_states = found + fork.num_tokens, fork.with_tails
        return fork.num_tokens

    def _best_fork(self, chain: Chain, depth: int, wanted: Sequence[int]) -> Fork | None:
        return best_fork(self._begun(chain, depth, wanted[0]), wanted, depth, self.layout)

    def _begun(self, chain: Chain, depth: int, first_token: int) -> Iterator[Begun]:
        """The blocks that follow the first `depth` ones of a chain: kept ones, and those that others are writing."""
        before = chain.keys[depth - 1] if depth else Root(chain.fingerprint)
        for node in map(self._kept, self._after.get(before, {}).get(first_token, ())):
            yield Begun(node.content, self._place(node))
        size = self.layout.block_size
        for other, source in self._chains.items():
            begin, done = depth * size, source.num_computed
            if source is chain or not begin < done <= begin + size or other not in self._tables:
                continue
            if self._states and not source.has_states:
                continue
            if self._continues(source, chain.keys[:depth], chain.fingerprint):
                blocks = self._blocks_at(other, depth)
                yield Begun(source.token_ids[begin:done], blocks, done if source.has_states else None)

    def _blocks_at(self, sequence_id: str, depth: int) -> list[int | None]:
        """Per group, a sequence's block of that depth, or its state."""
        return [
            table.blocks[place - table.first] if table.first <= place < table.end else None
            for table, rows in zip(self._tables[sequence_id], self._rows, strict=True)
            for place in (depth if rows else 0,)
        ]

    def completed(self, sequence_id: str, token_ids: Sequence[int], num_computed: int) -> None:
        chain = self._chains.get(sequence_id)
        size = self.layout.block_size
        whole = min(num_computed, len(token_ids)) // size  # agreed drafts are computed before they are booked
        if chain is None:
            return
        chain.has_states |= num_computed > chain.num_computed
        chain.token_ids, chain.num_computed = token_ids, num_computed
        if whole <= chain.num_kept:
            return
        if len(chain.keys) < whole:  # the answer has grown by a block
            chain.keys = block_keys(token_ids[: whole * size], size, chain.fingerprint, chain.keys)
        for depth in range(chain.num_kept, whole):
            self._file_block(sequence_id, chain, token_ids[depth * size : (depth + 1) * size])
        self._file_planned(chain)

    def free(self, sequence_id: str) -> None:
        self._covered.pop(sequence_id, None)
        self._wanted.pop(sequence_id, None)
        self._file_begun(sequence_id)
        self._end_states(sequence_id)
        for group, table in enumerate(self._tables.pop(sequence_id, [])):
            self._leave(sequence_id, group, table.first, table.blocks)
        chain = self._chains.pop(sequence_id, None)
        if chain is not None:
            self.index.release(chain.keys, chain.num_kept)

    def _file_begun(self, sequence_id: str) -> None:
        """Keeps the begun block of a sequence that ends: whoever comes with the same prompt forks from it."""
        chain = self._chains.get(sequence_id)
        if chain is None or self._copies is None or longest_span(self.layout) > 1 or sequence_id not in self._tables:
            return
        content = chain.token_ids[chain.num_kept * self.layout.block_size : chain.num_computed]
        if content:
            chain.keys[chain.num_kept :] = [begun_key(content, chain.keys[: chain.num_kept], chain.fingerprint)]
            self._file_block(sequence_id, chain, content)

    def _file_block(self, sequence_id: str, chain: Chain, content: Sequence[int]) -> None:
        """Makes the next block of a sequence a kept one, in every group that holds it."""
        depth = chain.num_kept
        self.index.insert(chain.keys, depth, depth + 1)
        block = self._kept(chain.keys[depth])
        if block.place is None:
            block.place = [None] * len(self.pools)
        block.content = tuple(content)
        self.evicted.pop(chain.keys[depth], None)
        if not depth:
            self._roots[chain.keys[0]] = chain.fingerprint
        self._note_name(block)
        for group, table in enumerate(self._tables[sequence_id]):
            if self._rows[group] and table.first <= depth < table.end:
                self._file(group, table, depth, self._place(block))
        chain.num_kept = depth + 1

    def _to_offload(self, sequence_id: str, num_computed: int) -> Offloaded:
        """Its own blocks; kept ones stay in the pool while nobody needs their room."""
        spans, chain = self._spans(sequence_id, num_computed), self._chains.get(sequence_id)
        own: dict[tuple[int, int], int] = {}
        named: list[tuple[int, int]] = []
        private_bytes = 0
        for group, table in enumerate(self._tables[sequence_id]):
            kept = dict(self._own(sequence_id, group, table.first, table.blocks)[1])
            for depth in range(*spans[group]):
                block = table.blocks[depth - table.first]
                if block in kept:
                    named.append((group, depth))
                else:
                    own[group, depth] = block
                private_bytes += self._block_bytes[group] * (block not in kept or kept[block].references == 1)
        if chain is None:
            return Offloaded(num_computed, spans, own, private_bytes=private_bytes, private_tokens=num_computed)
        keys = chain.keys[: chain.num_kept]
        shared = sum(1 for key in keys if self._kept(key).references > 1) * self.layout.block_size
        return Offloaded(num_computed, spans, own, keys, named, private_bytes, num_computed - shared, chain.has_states)

    def _tables_again(self, sequence_id: str, away: Offloaded, salt: str) -> list[BlockTable]:
        tables = super()._tables_again(sequence_id, away, salt)
        if not self.can_share:
            return tables
        count = self.index.match(away.keys)
        self.index.acquire(away.keys[:count])
        chain = self._chains[sequence_id] = Chain(self._salted(salt), list(away.keys), count)
        chain.num_computed, chain.has_states = away.num_computed, away.has_states
        named = set(away.named)
        for group, table in enumerate(tables):
            for depth in range(table.first, min(count, away.spans[group][1])):
                block = self._place(self._kept(away.keys[depth]))[group]
                if block is None or (group, depth) not in named:
                    break
                table.blocks.append(block)
                if group in self._trimmed:
                    self._use(group, block)
        return tables

    def _settle(self, sequence_id: str, group: int, depth: int, *, found: bool) -> None:
        chain = self._chains.get(sequence_id)
        if chain is None or depth >= chain.num_kept or not self._rows[group]:
            return super()._settle(sequence_id, group, depth, found=found)
        place = self._place(self._kept(chain.keys[depth]))
        if place[group] is None:
            super()._settle(sequence_id, group, depth, found=found)
        self._file(group, self._tables[sequence_id][group], depth, place)

    def _shared_table(self, group: int, keys: Sequence[bytes], count: int) -> BlockTable:
        table = BlockTable()
        if self._rows[group]:
            first, end = self.layout.held_range(group, count * self.layout.block_size, 1)
            table.first = first
            table.blocks = [cast(int, self._place(self._kept(key))[group]) for key in keys[first : min(end, count)]]
        return table
