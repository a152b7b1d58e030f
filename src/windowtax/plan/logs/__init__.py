"""Start-up logs of inference engines, read line by line into records."""

from windowtax.base.errors import BadInput
from windowtax.plan.logs.llamacpp import read_llamacpp
from windowtax.plan.logs.ours import read_bill
from windowtax.plan.logs.record import EngineLog
from windowtax.plan.logs.sglang import read_sglang
from windowtax.plan.logs.statement import read_statement
from windowtax.plan.logs.vllm import read_vllm

_READERS = (read_bill, read_llamacpp, read_sglang, read_vllm, read_statement)


def read_log(text: str) -> EngineLog:
    """The record of a log of any engine known here. Raises BadInput where no line says how large a cache is."""
    for read in _READERS:
        found = read(text)
        if found is not None:
            return found
    raise BadInput(
        "No line of this log says how large a KV cache is.",
        "Looked for: vLLM's 'GPU KV cache size', SGLang's 'KV Cache is allocated', llama.cpp's 'llama_kv_cache: size', "
        "a bill of windowtax ask --json, or a sentence such as '40 GiB at 131072 tokens'.",
    )
