"""In which order sequences wait, whatever their priorities: against the rule written down plainly."""

from hypothesis import given
from hypothesis import strategies as st

from windowtax.cache.manager import CacheManager
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.sequence import Sequence
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype

LAYOUT = CacheLayout.of([LayerCache(cache_dtype("bf16").vector_planes("k", 1, 8))], block_size=4)


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans())))
def test_a_newcomer_stands_before_the_first_of_lower_rank(moves: list[tuple[int, bool]]) -> None:
    """Some leave from the front meanwhile, and some come back there, as after a preemption."""
    queue, plain = Scheduler(SchedulerConfig(), CacheManager(LAYOUT, [100])), list[Sequence]()
    for number, (priority, returns) in enumerate(moves):
        new = Sequence(str(number), [1], 1, priority=priority)
        queue.add(new)
        lower = [place for place, other in enumerate(plain) if other.priority > priority]
        plain.insert(lower[0] if lower else len(plain), new)
        if returns:  # the newest that runs gives way, and waits at the front
            queue.waiting.appendleft(queue.waiting.pop())
            plain.insert(0, plain.pop())
        elif number % 3 == 0:
            assert queue.waiting.popleft() is plain.pop(0)
        assert list(queue.waiting) == plain
