"""A job in llama.cpp, through the C API that llama-cpp-python wraps: two threads, batches of 2,048, ubatches of 512."""

import ctypes
import struct
import time

import common
import llama_cpp as lib  # pyright: ignore[reportMissingImports]
import numpy as np


def main() -> None:
    """Prefill, where the job says so copies of the cells, decode."""
    task = common.job()
    ids, batch = common.tokens(task), task["batch"]
    lib.llama_log_set(_quiet, ctypes.c_void_p(0))
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(task["model"].encode(), lib.llama_model_default_params())
    vocab = lib.llama_n_vocab(lib.llama_model_get_vocab(model))
    context = lib.llama_init_from_model(model, _params(task))
    assert context, "no context"
    memory = lib.llama_get_memory(context)
    loaded = time.time()
    fill = task["fill"]
    prefill_s: list[float] = []
    for _ in range(task["repeats"]):
        lib.llama_memory_clear(memory, False)
        seconds, _ = common.timed(lambda: _prefill(context, ids[:fill]))
        prefill_s.append(seconds)
    chosen = [_best(context, 0, vocab)]
    first_token = time.time()
    if fill < task["context"]:
        _stretch(context, memory, fill, task["context"])
    for sequence in range(1, batch):
        lib.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
    decode_s: list[float] = []
    step = lib.llama_batch_init(batch, 0, 1)
    for position in range(task["context"], task["context"] + task["decode"]):
        _fill_batch(step, chosen[-1], position, batch)
        began = time.perf_counter()
        assert lib.llama_decode(context, step) == 0
        chosen.append(_best(context, 0, vocab))
        decode_s.append(time.perf_counter() - began)
    common.tell(prefill_s=prefill_s, decode_s=decode_s, loaded=loaded, first_token=first_token, ids=chosen[:8])


@lib.llama_log_callback
def _quiet(level: int, text: bytes, data: object) -> None:
    """Nothing but the result belongs to the output."""


def _params(task: dict[str, int]) -> "lib.llama_context_params":
    params = lib.llama_context_default_params()
    room = task["context"] + task["decode"] + 8
    params.n_ctx = room * task["batch"]
    params.n_seq_max = task["batch"]
    params.kv_unified = False
    params.n_batch, params.n_ubatch = 2048, 512
    params.n_threads = params.n_threads_batch = 2
    params.flash_attn_type = 1 if task["flash"] else 0
    # Layers with a window keep that only, as in its own programs: by default the C API keeps, and reads, all of it.
    params.swa_full = False
    if task["rope_factor"] > 1:
        params.rope_scaling_type = lib.LLAMA_ROPE_SCALING_TYPE_LINEAR
        params.rope_freq_scale = 1 / task["rope_factor"]
    return params


def _prefill(context: object, ids: list[int]) -> None:
    for first in range(0, len(ids), 2048):
        piece = ids[first : first + 2048]
        array = (lib.llama_token * len(piece))(*piece)
        assert lib.llama_decode(context, lib.llama_batch_get_one(array, len(piece))) == 0
    lib.llama_synchronize(context)


def _fill_batch(step: "lib.llama_batch", token: int, position: int, count: int) -> None:
    step.n_tokens = count
    for row in range(count):
        step.token[row], step.pos[row] = token, position
        step.n_seq_id[row], step.seq_id[row][0], step.logits[row] = 1, row, 1


def _best(context: object, row: int, vocab: int) -> int:
    logits = lib.llama_get_logits_ith(context, -1 if row == 0 else row)
    return int(np.ctypeslib.as_array(logits, shape=(vocab,)).argmax())


def _stretch(context: object, memory: object, filled: int, wanted: int) -> None:
    """Loads the sequence again with copies of its cells, up to `wanted`: its saved state, written longer.

    The state is magic, sequence, and one section per kind of cache: of all layers, or of those that see everything and
    of those with a window (llama-context.cpp, llama-kv-cache.cpp and llama-kv-cache-iswa.cpp, state_write).
    """
    size = lib.llama_state_seq_get_size(context, 0)
    state = (ctypes.c_uint8 * size)()
    assert lib.llama_state_seq_get_data(context, state, size, 0) == size
    old = memoryview(bytes(state))
    out, at = [bytes(old[:8])], 8
    while at < len(old):
        section, at = _longer(old, at, filled, wanted)
        out += section
    assert at == len(old), (at, len(old))
    new = b"".join(out)
    lib.llama_memory_clear(memory, True)
    buffer = (ctypes.c_uint8 * len(new)).from_buffer_copy(new)
    assert lib.llama_state_seq_set_data(context, buffer, len(new), 0) == len(new)


def _longer(old: memoryview, at: int, filled: int, wanted: int) -> tuple[list[bytes], int]:
    """The section that begins at byte `at`, longer, and where the next one begins.

    A section is streams, cells, per cell position, 1, sequence; v_trans, layers; per layer type, bytes of a row, keys;
    then values alike, or, transposed, type, bytes of a number, rows, values. Of a window only its last cells are saved:
    they stay as many, and move to the end.
    """
    streams, cells = struct.unpack_from("<II", old, at)
    assert streams == 1 and cells <= filled, (streams, cells)
    times = wanted // filled if cells == filled else 1
    saved = [struct.unpack_from("<i", old, at + 8 + 12 * cell)[0] for cell in range(cells)]
    positions = range(wanted) if cells == filled else [position + wanted - filled for position in saved]
    out = [struct.pack("<II", 1, len(positions)), *(struct.pack("<iIi", position, 1, 0) for position in positions)]
    at += 8 + 12 * cells
    transposed, layers = struct.unpack_from("<II", old, at)
    out.append(bytes(old[at : at + 8]))
    at += 8
    for flat in (False, bool(transposed)):
        for _ in range(layers):
            head = 12
            rows, row_bytes = cells, struct.unpack_from("<Q" if not flat else "<I", old, at + 4)[0]
            if flat:
                rows, row_bytes = struct.unpack_from("<I", old, at + 8)[0], row_bytes * cells
            out.append(bytes(old[at : at + head]))
            at += head
            data = np.frombuffer(old[at : at + rows * row_bytes], dtype=np.uint8)
            out.append(
                np.tile(data.reshape(rows, -1), (1, times)).tobytes() if flat else np.tile(data, times).tobytes()
            )
            at += rows * row_bytes
    return out, at


main()
