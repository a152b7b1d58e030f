"""Prefix hits of a replay: what waiting sequences find of their prompts, and what running ones leave behind."""

from itertools import islice

from windowtax.plan.replay.played import Played, played_of
from windowtax.plan.replay.tiers import PrefixTiers
from windowtax.schedule.scheduler import Scheduler
from windowtax.schedule.step import Step


class PrefixReuse:
    """Between one scheduler and the tiers that keep prefixes."""

    def __init__(self, tiers: PrefixTiers, scheduler: Scheduler) -> None:
        self.tiers = tiers
        self._scheduler = scheduler

    def look_up(self) -> bool:
        """Gives those that may be admitted next what is kept of their prompts; they hold it until they end.

        Returns whether one that came now would be looked up too.
        """
        scheduler = self._scheduler
        config, waiting = scheduler.config, scheduler.waiting
        slots = config.max_sequences - len(scheduler.running)
        if not waiting or slots <= 0:
            return False
        budget = config.max_step_tokens - sum(one.num_uncomputed_tokens for one in scheduler.running)
        for sequence in islice(waiting, slots):
            if budget <= 0:
                return False
            if not sequence.offloaded:  # else it has all that it had computed
                self._take(played_of(sequence))
            budget -= sequence.num_uncomputed_tokens
        return budget > 0 and len(waiting) < slots

    def loads_s(self, step: Step) -> float:
        """Seconds of copying that the step waits for; copies share one way, and run beside the computing."""
        total = 0.0
        for chunk in step.chunks:
            played = played_of(chunk.sequence)
            total += played.load_s
            played.load_s = 0.0
        return total

    def keep(self, played: Played) -> None:
        """Files the blocks of its prompt that it has computed."""
        keys = played.request.keys
        whole = min(len(keys), played.num_computed_tokens // self.tiers.block_tokens)
        if whole > played.held:
            self.tiers.keep(keys, played.held, whole)
            played.held = whole

    def files_new_blocks(self, played: Played) -> bool:
        """Whether none of the blocks that it has still to file is there already, by another's hand."""
        keys = played.request.keys
        return played.held >= len(keys) or not self.tiers.has(keys[played.held])

    def let_go(self, played: Played) -> None:
        """Gives its references back; its own blocks must be free by now."""
        if played.held:
            self.tiers.release(played.request.keys, played.held)
            played.held = 0
        played.load_s = 0.0

    def _take(self, played: Played) -> None:
        tiers, request = self.tiers, played.request
        # The last token of a prompt must be computed: its logits choose the first token of the answer.
        usable = (request.num_prompt_tokens - 1) // tiers.block_tokens
        if played.held >= min(usable, len(request.keys)):
            return
        played.held, load_s = tiers.take(request.keys[:usable], played.held)
        played.load_s += load_s
        played.num_computed_tokens = played.held * tiers.block_tokens
        if played.first_token_s < 0 and not played.num_preemptions:
            played.num_cached_tokens = played.num_computed_tokens
