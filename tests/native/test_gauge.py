"""The gauge: what is faster in silicon is faster in it, and what a level lacks is 0."""

import pytest

from windowtax.ops.native import native_state

module = native_state().module
pytestmark = pytest.mark.skipif(module is None, reason="the native kernels are not built")


def running() -> list[str]:
    return [level.name for level in module.levels() if level.runs]


@pytest.mark.parametrize("element", ["fp32", "bf16", "int8"])
def test_every_level_that_runs_is_measured(element):
    for level in running():
        rate = module.gauge.multiply(level, element, 1, 0.02)
        known = element == "fp32" or level in ("avx512", "amx")
        assert (rate > 0) == known, (level, rate)


def test_reads_are_between_what_no_machine_and_what_every_machine_does():
    for threads in (1, 2):
        # The best of some: others may keep its threads waiting.
        assert 1e8 < max(module.gauge.read(1 << 20, threads, 0.02) for _ in range(5)) < 1e14


def test_what_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match="fp32, bf16 and int8"):
        module.gauge.multiply("", "fp64", 1, 0.02)
    with pytest.raises(ValueError, match="does not run here"):
        module.gauge.multiply("mmx", "fp32", 1, 0.02)
