"""The bill of a request: what was predicted, what was allocated, what was measured, and what it cost."""

from dataclasses import dataclass

from windowtax.engine.engine import Engine
from windowtax.engine.memory import peak_resident_bytes, resident_bytes
from windowtax.engine.request import Request
from windowtax.plan.roofline import Floor, decode_floor, prefill_floor
from windowtax.price.api import BillPair, compare_bills
from windowtax.price.own import usd_for_seconds
from windowtax.spec.hardware import Hardware


@dataclass(frozen=True, kw_only=True)
class CacheLedger:
    """KV cache bytes, three times. The pool: as planned, and as the tensors have it. What was held at the peak: as
    planned for these tokens, and as the blocks were counted.

    byte_seconds: bytes held, times how long. growth_bytes_per_token: of each further token. workspace_bytes: of keys
    that wait until their block can be kept in few bits.
    """

    pool_predicted_bytes: int
    pool_allocated_bytes: int
    held_predicted_bytes: int
    held_measured_bytes: int
    growth_bytes_per_token: int
    window_bytes: int
    workspace_bytes: int
    byte_seconds: float

    @property
    def agrees(self) -> bool:
        """Whether prediction, allocation and measurement are the same to the byte."""
        return (self.pool_predicted_bytes, self.held_predicted_bytes) == (
            self.pool_allocated_bytes,
            self.held_measured_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Times of one request in s, and the floors of this machine for the same work."""

    ttft_s: float
    tpot_s: float | None
    prefill_tokens_per_s: float
    decode_step_s: float | None
    decode_tokens_per_s: float | None
    prefill_floor: Floor
    decode_floor: Floor
    prefill_s: float
    decode_s: float
    total_s: float

    @property
    def prefill_of_floor(self) -> float:
        """Floor over measured: 1 is as fast as this machine can be."""
        return self.prefill_floor.seconds / self.prefill_s if self.prefill_s else 0.0

    @property
    def decode_of_floor(self) -> float | None:
        """Floor over measured, per decode step; a step may yield several tokens where they are guessed ahead."""
        return None if not self.decode_step_s else self.decode_floor.seconds / self.decode_step_s


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Everything one answer cost. computed_by: native kernels or torch; weights: as --weights says. kinds: layers of
    each attention kind, levers counted in. cache_read_share: of the bytes that its decode steps moved; derived.

    cache_read_s: what those reads take per step at this machine's bandwidth; derived.
    """

    model: str
    compute_dtype: str
    computed_by: str
    weights: str
    cache_dtype: str
    kinds: dict[str, int]
    num_prompt_tokens: int
    num_output_tokens: int
    context_tokens: int
    max_context_tokens: int
    finish_reason: str
    drafted_tokens: int
    accepted_tokens: int
    decode_steps: int
    cache: CacheLedger
    speed: Speed
    weight_bytes: int
    resident_bytes: int
    peak_resident_bytes: int
    resident_before_bytes: int
    cache_read_share: float
    cache_read_s: float
    hardware: Hardware
    usd_per_hour: float | None
    own_usd: float | None
    api: tuple[BillPair, ...]


def make_bill(
    engine: Engine,
    request: Request,
    hardware: Hardware,
    *,
    cache_dtype: str,
    num_cached_tokens: int,
    usd_per_hour: float | None,
    resident_before_bytes: int,
) -> Bill:
    """The bill of a finished request that ran alone. hardware: this machine, measured.

    num_cached_tokens: the prefix that an API would read from its cache at the second question on the same text.
    """
    meter, spec = request.meter, engine.model.spec
    num_prompt, num_output = request.sequence.num_prompt_tokens, request.sequence.num_output_tokens
    speed = _speed(engine, request, hardware)
    hardware = hardware.reading(speed.decode_floor.bytes)
    mean_context = meter.decode_context_tokens // meter.decode_steps if meter.decode_steps else num_prompt
    cache_bytes = engine.cache.layout.read_bytes(mean_context)
    total_s = speed.total_s
    return Bill(
        model=spec.name,
        compute_dtype=engine.model.dtype,
        computed_by=engine.model.backend.name,
        weights=engine.model.backend.weights,
        cache_dtype=cache_dtype,
        kinds=spec.kinds,
        num_prompt_tokens=num_prompt,
        num_output_tokens=num_output,
        context_tokens=engine.context_tokens,
        max_context_tokens=spec.max_context_tokens,
        finish_reason=str(request.finish_reason),
        drafted_tokens=meter.drafted_tokens,
        accepted_tokens=meter.accepted_tokens,
        decode_steps=meter.decode_steps,
        cache=_ledger(engine, request),
        speed=speed,
        weight_bytes=engine.model.weight_bytes,
        resident_bytes=resident_bytes(),
        peak_resident_bytes=peak_resident_bytes(),
        resident_before_bytes=resident_before_bytes,
        cache_read_share=cache_bytes / speed.decode_floor.bytes,
        cache_read_s=cache_bytes / hardware.read_bytes_per_s.value,
        hardware=hardware,
        usd_per_hour=usd_per_hour,
        own_usd=None if usd_per_hour is None else usd_for_seconds(usd_per_hour, total_s),
        api=tuple(compare_bills(num_prompt, num_output, num_cached_tokens)),
    )


def _ledger(engine: Engine, request: Request) -> CacheLedger:
    layout, step_tokens = engine.cache.layout, engine.scheduler.config.max_step_tokens
    num_prompt, num_output = request.sequence.num_prompt_tokens, request.sequence.num_output_tokens
    held = layout.peak_blocks_of_run(num_prompt, num_output, step_tokens)
    if request.meter.drafted_tokens:
        # Which guesses come true cannot be planned; the steps are taken as they came.
        held = layout.peak_blocks_of_steps(request.meter.steps)
    return CacheLedger(
        pool_predicted_bytes=layout.pool_bytes_for(engine.context_tokens, step_tokens),
        pool_allocated_bytes=engine.runner.store.nbytes,
        held_predicted_bytes=layout.pool_bytes(held),
        held_measured_bytes=request.meter.peak_bytes,
        growth_bytes_per_token=layout.growth_bytes_per_token,
        window_bytes=layout.window_bytes,
        workspace_bytes=layout.workspace_bytes,
        byte_seconds=request.meter.byte_seconds,
    )


def _speed(engine: Engine, request: Request, hardware: Hardware) -> Speed:
    meter, spec, dtype = request.meter, engine.model.spec, engine.model.dtype
    num_prompt, num_output = request.sequence.num_prompt_tokens, request.sequence.num_output_tokens
    assert meter.ttft_s is not None and meter.finished is not None
    mean_context = meter.decode_context_tokens // meter.decode_steps if meter.decode_steps else num_prompt
    tpot = meter.tpot_s(num_output)
    read = engine.model.step_weight_bytes
    return Speed(
        ttft_s=meter.ttft_s,
        tpot_s=tpot,
        prefill_tokens_per_s=meter.prefill_tokens / meter.prefill_s,
        decode_step_s=meter.decode_s / meter.decode_steps if meter.decode_steps else None,
        decode_tokens_per_s=1 / tpot if tpot else None,
        prefill_floor=prefill_floor(spec, hardware, num_prompt, weight_element=dtype, weight_bytes=read),
        decode_floor=decode_floor(
            spec, hardware, mean_context, engine.cache.layout, weight_element=dtype, weight_bytes=read
        ),
        prefill_s=meter.prefill_s,
        decode_s=meter.decode_s,
        total_s=meter.finished - meter.arrived,
    )
