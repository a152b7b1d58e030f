"""How long our own engine will take on this machine, and how long it must at least: from the files, before a weight is
read. The planner's formulas, with the bytes of the weights as they will be packed."""

from dataclasses import dataclass

from windowtax.engine.backend import Backend
from windowtax.engine.load import ModelFiles
from windowtax.plan.roofline import Floor, Rank, as_asked, decode_floor, prefill_floor
from windowtax.plan.schemes import WeightScheme, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.hardware import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of one prompt read alone, and of one decode step of the whole batch, s: at least, and as this engine runs."""

    prefill_floor: Floor
    decode_floor: Floor
    ttft_s: float
    tpot_s: float


def predict(
    files: ModelFiles,
    backend: Backend,
    hardware: Hardware,
    cache_dtype_name: str,
    context_tokens: int,
    batch: int = 1,
) -> Prediction:
    """hardware: this machine, with what the engine reaches on it."""
    spec, layout = files.spec, files.spec.layout(cache_dtype(cache_dtype_name))
    weight_bytes = files.step_weight_bytes(backend)
    read_bytes = weight_bytes + batch * layout.read_bytes(context_tokens)
    scheme = _scheme(files, backend)
    floor_hardware = hardware.as_floor()
    rank = Rank(
        spec=spec,
        hardware=as_asked(hardware, spec, cache_dtype_name, read_bytes=read_bytes, users=batch),
        scheme=scheme,
        weights=WeightBytes(weight_bytes, weight_bytes, (), 0.0, files.head_bytes(backend)),
        layout=layout,
    )
    return Prediction(
        prefill_floor=prefill_floor(
            spec, floor_hardware, context_tokens, weight_bytes=weight_bytes, weight_element=files.dtype
        ),
        decode_floor=decode_floor(
            spec, floor_hardware, context_tokens, layout, weight_bytes, batch, weight_element=files.dtype
        ),
        ttft_s=rank.prefill(context_tokens, 0, DEFAULT_STEP_TOKENS).overlap_s,
        tpot_s=rank.decode(context_tokens, batch).overlap_s,
    )


def _scheme(files: ModelFiles, backend: Backend) -> WeightScheme:
    """The scheme whose bits are nearest to what the packed weights take on average."""
    if backend.native is None:
        return weight_scheme(files.dtype, files.spec)
    bits = files.weight_bytes(backend) * 8 / files.spec.total_parameters
    name = files.dtype if bits > 12 else "q8_0" if bits > 7 else "q5_0" if bits > 5.25 else "q4_1"
    return weight_scheme(name, files.spec)
