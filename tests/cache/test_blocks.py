"""The block pool against the plainest one there is: a set of free blocks and a set of held ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.base.errors import DoesNotFit
from windowtax.cache.blocks import BlockPool


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.randoms()), max_size=40))
def test_blocks_are_free_or_held_whatever_is_taken_and_given_back(num_blocks: int, moves: list[tuple]) -> None:
    pool = BlockPool(num_blocks)
    free, held = set(range(num_blocks)), list[int]()
    for takes, count, draw in moves:
        if takes and count > len(free):
            with pytest.raises(DoesNotFit, match=f"{len(free)} free blocks, and {count} are asked for"):
                pool.take(count)
        elif takes:
            after = draw.choice(held) if held else None
            taken = pool.take(count, after)
            assert len(taken) == len(set(taken)) == count and free.issuperset(taken)
            if after is not None and after + 1 in free and count:
                assert taken[0] == after + 1
            free.difference_update(taken)
            held += taken
        else:
            draw.shuffle(held)
            given_back, held = held[:count], held[count:]
            pool.give_back(given_back)
            free.update(given_back)
        pool.check()
        assert (pool.num_free, pool.num_held) == (len(free), len(held))


def test_a_prompt_gets_neighbours_and_so_does_what_follows_it() -> None:
    pool = BlockPool(10)
    assert pool.take(4) == [0, 1, 2, 3]
    assert pool.take(2, after=3) == [4, 5]
    assert pool.take(after=5) == [6]
    pool.give_back([1, 2])
    assert pool.take(2, after=6) == [7, 8]
    # One block is left of that run; the rest comes from the run that was given back.
    assert pool.take(3, after=8) == [9, 1, 2]
    with pytest.raises(DoesNotFit, match="0 free blocks, and 1 are"):
        pool.take()


def test_what_cannot_grow_in_place_grows_at_the_end_of_the_pool() -> None:
    """So that single blocks do not cut the space up in which the next prompt could lie in one piece."""
    pool = BlockPool(12)
    first, second = pool.take(3), pool.take(3)
    assert pool.take(after=first[-1]) == [11]
    assert pool.take(after=second[-1]) == [6]
    pool.give_back(first)
    assert pool.take(3) == [0, 1, 2]


@pytest.mark.parametrize("blocks", [[3], [1, 2], [0, 1, 1], [-1], [7, 8]])
def test_what_is_not_held_cannot_be_given_back(blocks: list[int]) -> None:
    pool = BlockPool(8)
    assert pool.take(2) == [0, 1]
    with pytest.raises(RuntimeError, match="given back but not held"):
        pool.give_back(blocks)
