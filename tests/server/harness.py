"""A real server on a free port in this process: uvicorn in a thread, a tiny random model, the whole stack."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.service import EngineService, ServiceLimits
from windowtax.engine.tier_options import TierOptions, open_tiers
from windowtax.engine.tiering import TieredCache
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.server.app import make_app
from windowtax.server.biller import Biller
from windowtax.server.keys import Keyring, make_keyring
from windowtax.server.ledger import Ledger
from windowtax.server.metrics import Metrics
from windowtax.server.served import Served
from windowtax.server.settings import Settings
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype

CHATML = (
    "{% if tools %}<|im_start|>system\n# Tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    'answer in <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>\n{% endif %}'
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def save_tiny_chat(folder: Path) -> Path:
    """A random Llama over bytes: 256 byte tokens and three special ones, with a ChatML template that knows tools."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: place for place, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIALS])
    known = tokenizer.get_vocab()
    ends = [known[SPECIALS[0]], known[SPECIALS[2]]]
    config = LlamaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096,
        bos_token_id=ends[0], eos_token_id=ends, pad_token_id=ends[0],
    )  # fmt: skip
    import torch

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": SPECIALS[2], "bos_token": None, "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def load_tiny_chat(folder: Path) -> LoadedModel:
    """The same, loaded."""
    return load_model(save_tiny_chat(folder), dtype="fp32")


@dataclass
class Running:
    """A server that runs. url: without a slash at the end."""

    url: str
    served: Served
    server: uvicorn.Server
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60)

    @property
    def engine(self) -> Engine:
        return self.served.service.engine

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def events(self, path: str, body: Any) -> list[str]:
        """The lines of a stream that are not empty."""
        with self.client.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            return [line for line in response.iter_lines() if line]

    def chunks(self, path: str, body: Any) -> list[dict[str, Any]]:
        """The JSON of a stream's events; the last one must be [DONE]."""
        lines = [line.removeprefix("data: ") for line in self.events(path, body) if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]

    def wait_idle(self) -> None:
        """Until nothing runs or waits."""
        until(lambda: not self.served.service.num_running and not self.served.service.num_waiting)


def until(condition: Any, seconds: float = 30.0) -> None:
    """Waits for a condition; fails where it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def _cache(model: LoadedModel, layout: CacheLayout, blocks: list[int], tiers: TierOptions | None) -> SharedCache:
    fingerprint = model.fingerprint("fp32")
    lower = None if tiers is None else open_tiers(tiers, fingerprint=fingerprint, layout=layout)
    if lower is None:
        return SharedCache(layout, blocks)
    return TieredCache(layout, blocks, lower, fingerprint=fingerprint)


@contextmanager
def serving(
    model: LoadedModel,
    *,
    window: int = 512,
    windows: int = 4,
    settings: Settings | None = None,
    limits: ServiceLimits | None = None,
    keyring: Keyring | None = None,
    ledger: Path | None = None,
    step_tokens: int = 64,
    max_sequences: int = 64,
    tiers: TierOptions | None = None,
) -> Iterator[Running]:
    """A server on a free port."""
    layout = model.spec.layout(cache_dtype("fp32"), 16)
    blocks = [windows * count for count in layout.peak_blocks(window, step_tokens)]
    config = SchedulerConfig(max_step_tokens=step_tokens, max_sequences=max_sequences, share_prefill=True)
    engine = Engine(model, _cache(model, layout, blocks, tiers), config, window)
    settings = settings or Settings(names=("tiny",), usd_per_hour=0.36)
    service = EngineService(engine, limits or ServiceLimits())
    served = Served(
        service,
        settings,
        Metrics(service, settings.names[0]),
        Biller(service.tally, settings.price_list, settings.usd_per_hour),
        Ledger(ledger) if ledger else None,
    )
    app = make_app(served, keyring or make_keyring())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    running = Running(f"http://127.0.0.1:{port}", served, server)
    try:
        yield running
    finally:
        running.client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"
