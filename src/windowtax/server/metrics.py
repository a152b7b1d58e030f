"""Prometheus metrics: our own names, and the names that dashboards for vLLM read, from the same numbers."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from windowtax.base.errors import WindowtaxError
from windowtax.engine.books import unused_bytes
from windowtax.engine.service import EngineService

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
_PATIENCE_S = 0.5
OURS, THEIRS = "windowtax:", "vllm:"


class Twin:
    """One histogram under both names."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, model: str, buckets: Iterable[float]) -> None:
        self._both = [
            Histogram(f"{prefix}{name}", text, ["model_name"], registry=registry, buckets=tuple(buckets)).labels(model)
            for prefix in (OURS, THEIRS)
        ]

    def observe(self, value: float) -> None:
        """Books a value."""
        for one in self._both:
            one.observe(value)


class Metrics:
    """What a server measures. Gauges and counters are read off the engine's books when somebody asks."""

    def __init__(self, service: EngineService, model: str) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_Books(service, model, self))

        def seconds(name: str, text: str) -> Twin:
            return Twin(registry, name, text, model, _SECONDS)

        self.ttft = seconds("time_to_first_token_seconds", "From arrival to the first token")
        self.itl = seconds("inter_token_latency_seconds", "Between two tokens of a request")
        self.e2e = seconds("e2e_request_latency_seconds", "From arrival to the end")
        self.queue = seconds("request_queue_time_seconds", "From arrival to the first step")
        self.prefill = seconds("request_prefill_time_seconds", "From the first step to the first token")
        self.decode = seconds("request_decode_time_seconds", "From the first token to the end")
        self.prompt = Twin(registry, "request_prompt_tokens", "Tokens of the prompt", model, _TOKENS)
        self.output = Twin(registry, "request_generation_tokens", "Tokens of the answer", model, _TOKENS)
        self.own_usd = 0.0
        self.api_usd = 0.0
        self.truncated = 0
        self.kept_bytes = 0
        self._service = service

    async def read(self) -> None:
        """Asks the engine's thread for what only it can count; a long step is not waited for."""
        with suppress(TimeoutError, WindowtaxError):
            asked = asyncio.wrap_future(self._service.do(unused_bytes))
            self.kept_bytes = await asyncio.wait_for(asked, _PATIENCE_S)

    def text(self) -> bytes:
        """The page that Prometheus scrapes."""
        return generate_latest(self._registry)


class _Books(Collector):
    """Reads the engine's counters at the moment of a scrape."""

    def __init__(self, service: EngineService, model: str, metrics: Metrics) -> None:
        self._service = service
        self._model = model
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All gauges and counters."""
        yield from self._gauges()
        yield from self._counters()
        yield from self._by_label()

    def _gauges(self) -> Iterator[Metric]:
        service, cache = self._service, self._service.engine.cache
        total = cache.layout.pool_bytes(cache.num_blocks)
        kept_bytes = min(self._metrics.kept_bytes, cache.held_bytes)
        used_bytes = cache.held_bytes - kept_bytes
        gauges: list[tuple[str, str, float, tuple[str, ...]]] = [
            ("num_requests_running", "Requests that hold blocks", service.num_running, (OURS, THEIRS)),
            ("num_requests_waiting", "Requests that wait", service.num_waiting, (OURS, THEIRS)),
            (
                "kv_cache_usage_perc",
                "Share of the pool's bytes that running requests hold, 0 to 1",
                used_bytes / total if total else 0.0,
                (OURS, THEIRS),
            ),
            ("kv_pool_bytes", "Bytes of the pool", total, (OURS,)),
            ("kv_held_bytes", "Bytes that running requests hold", used_bytes, (OURS,)),
            ("kv_kept_bytes", "Bytes that only wait to be used again", kept_bytes, (OURS,)),
        ]
        for name, text, value, prefixes in gauges:
            for prefix in prefixes:
                gauge = GaugeMetricFamily(f"{prefix}{name}", text, labels=["model_name"])
                gauge.add_metric([self._model], value)
                yield gauge
        info = GaugeMetricFamily(f"{THEIRS}cache_config_info", "The cache", labels=["block_size", "num_gpu_blocks"])
        info.add_metric([str(cache.layout.block_size), str(max(cache.num_blocks, default=0))], 1)
        yield info

    def _counters(self) -> Iterator[Metric]:
        tally = self._service.tally
        both, ours = (OURS, THEIRS), (OURS,)
        counters: list[tuple[str, str, float, tuple[str, ...]]] = [
            ("prompt_tokens", "Prompt tokens of requests that were answered", tally.prompt_tokens, both),
            ("generation_tokens", "Tokens generated", tally.output_tokens, both),
            ("prefix_cache_queries", "Prompt tokens looked up in the prefix cache", tally.prompt_tokens, both),
            ("prefix_cache_hits", "Prompt tokens found there", tally.cached_tokens.total(), both),
            ("num_preemptions", "Requests that had to give their blocks back", tally.num_preemptions, both),
            ("preemption_moves", "Of these, after which the blocks waited in host RAM", tally.num_moves, ours),
            ("preemption_moved_bytes", "Bytes that came back from there", tally.moved_bytes, ours),
            ("preemption_recomputed_tokens", "Tokens computed again after the others", tally.recomputed_tokens, ours),
            ("prefill_tokens", "Prompt tokens computed", tally.prefill_tokens, ours),
            ("steps", "Steps computed", tally.num_steps, ours),
            ("step_seconds", "Seconds in steps", tally.step_s, ours),
            ("failed_steps", "Steps that raised", tally.failed_steps, ours),
            ("kv_byte_seconds", "Bytes of cache held, times seconds", tally.byte_seconds, ours),
            ("request_cost_dollars", "At this machine's price", self._metrics.own_usd, ours),
            ("request_api_cost_dollars", "The same calls at the API compared with", self._metrics.api_usd, ours),
            ("context_truncated", "Prompts cut because the request asked for it", self._metrics.truncated, ours),
        ]
        for name, text, value, prefixes in counters:
            for prefix in prefixes:
                counter = CounterMetricFamily(f"{prefix}{name}", text, labels=["model_name"])
                counter.add_metric([self._model], value)
                yield counter

    def _by_label(self) -> Iterator[Metric]:
        tally = self._service.tally
        hits = CounterMetricFamily(
            f"{OURS}cache_hit_tokens", "Prompt tokens found, by tier", labels=["model_name", "tier"]
        )
        for tier in ("device", "host", "disk"):
            hits.add_metric([self._model, tier], tally.cached_tokens[tier])
        yield hits
        for prefix in (OURS, THEIRS):
            ends = CounterMetricFamily(
                f"{prefix}request_success", "Ended requests", labels=["model_name", "finished_reason"]
            )
            for reason, count in sorted(tally.num_requests.items()):
                ends.add_metric([self._model, reason], count)
            yield ends
