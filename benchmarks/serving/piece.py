"""One server in one scenario: started, loaded, ended. Runs in a process of its own, the client's side of it all."""

import asyncio
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from benchmarks.kit.pages import drop, files_in
from benchmarks.kit.pieces import Round, on_idle_machine, say, task_of_piece, tell
from benchmarks.serving import load
from benchmarks.serving.cells import (
    AT_ONCE,
    OUTPUT_TOKENS,
    PREFIX_TOKENS,
    REPEATED_OUTPUT_TOKENS,
    REPEATED_TAIL_TOKENS,
    REPEATED_TOKENS,
    REPEATS,
    TAIL_TOKENS,
    num_requests,
)
from benchmarks.serving.servers import Server, running, server
from benchmarks.serving.texts import prompt, read_pieces


@dataclasses.dataclass(frozen=True)
class Client:
    """Who asks. seed: of this round, so that no prompt was ever asked for before."""

    engine: str
    texts: list[str]
    seed: str
    http: httpx.AsyncClient
    model: str

    def request(self, seed: str, tokens: int, tail: str = "", tail_tokens: int = 0, output: int = OUTPUT_TOKENS) -> Any:
        """A completion of a text, and another one behind it where there is a tail."""
        text = prompt(self.texts, f"{self.seed} {seed}", tokens)
        text += "\n\n" + prompt(self.texts, f"{self.seed} {tail}", tail_tokens) if tail else ""
        return load.body(self.model, text, output)

    async def warm(self) -> None:
        """The first requests of a server pay for what no later one pays for."""
        for count in range(2):
            await load.ask(self.http, self.request(f"warm {count} {time.time()}", 256, output=8))


async def loads(who: Client, scenario: str) -> Round:
    """Throughput and latencies by how many requests are under way."""
    found: Round = {}
    await who.warm()
    for at_once in AT_ONCE:
        count = num_requests(at_once)
        if scenario == "shared":
            # A system prompt that somebody has used before.
            first = f"prefix {at_once}"
            await load.ask(who.http, who.request(first, PREFIX_TOKENS, "first", TAIL_TOKENS, output=1))
            requests = [who.request(first, PREFIX_TOKENS, f"{at_once} {i}", TAIL_TOKENS) for i in range(count)]
        else:
            requests = [who.request(f"{at_once} {i}", PREFIX_TOKENS + TAIL_TOKENS) for i in range(count)]
        answers, wall_s = await load.closed_loop(who.http, requests, at_once)
        found[str(at_once)] = load.summary(answers, wall_s)
        cell = found[str(at_once)]
        rate, ttft_ms = cell["output_tokens_per_s"], cell["ttft_s"] * 1e3
        say(f"  at once {at_once}: {rate:.1f} tokens/s, TTFT {ttft_ms:,.0f} ms, {cell['cached_tokens']} cached")
    return found


async def repeated(who: Client, *, again: bool) -> Round:
    """TTFT of a prefix: for the first time and then with new tails; or, behind a restart, as it comes back."""
    found: Round = {}
    await who.warm()
    for tokens in REPEATED_TOKENS:
        entry: Round = {}
        asked = [who.request(f"doc {tokens}", tokens, f"{again} {i}", REPEATED_TAIL_TOKENS, REPEATED_OUTPUT_TOKENS)
                 for i in range(1 if again else 1 + REPEATS)]  # fmt: skip
        if who.engine == "llama" and again:
            entry["restore_s"] = await _slot(who, "restore", tokens)
        answers = [await load.ask(who.http, request) for request in asked]
        entry["prompt_tokens"] = answers[0].prompt_tokens
        entry["ttft_s"] = [answer.ttft_s for answer in answers]
        entry["cached_tokens"] = [answer.cached_tokens for answer in answers]
        if who.engine == "llama" and not again:
            await _slot(who, "save", tokens)
        found[str(tokens)] = entry
        say(f"  {who.engine} {tokens} {'after a restart' if again else ''} {entry}")
    return found


async def _slot(who: Client, action: str, tokens: int) -> float:
    """llama-server's own way over a restart: whoever runs it saves a slot to a file, and restores it. Seconds."""
    began = time.perf_counter()
    answer = await who.http.post(f"/slots/0?action={action}", json={"filename": f"{tokens}.slot"})
    answer.raise_for_status()
    return time.perf_counter() - began


async def measure(task: Round, texts: list[str], at: Server, *, again: bool = False) -> Round:
    """What a running server does."""
    async with load.client(at.url) as http:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        who = Client(task["engine"], texts, task["seed"], http, model)
        if task["scenario"] == "repeated":
            return await repeated(who, again=again)
        return await loads(who, task["scenario"])


def main() -> None:
    """The task: engine, scenario, seed, and where the peers, the weights and the texts are."""
    task = task_of_piece()
    found = on_idle_machine()
    texts, peers, gguf = read_pieces(Path(task["texts"])), Path(task["peers"]), Path(task["gguf"])
    with tempfile.TemporaryDirectory(prefix="windowtax-serving-", dir=task["scratch"]) as folder:
        state, log = Path(folder), Path(folder) / "server.log"
        one = server(task["engine"], task["scenario"], peers, gguf, state)
        try:
            with running(one, log) as found["start_s"]:
                found["cells"] = asyncio.run(measure(task, texts, one))
            if task["scenario"] == "repeated":
                drop(files_in(state))
                with running(one, log) as found["restart_s"]:
                    found["again"] = asyncio.run(measure(task, texts, one, again=True))
        except Exception:
            print(log.read_text()[-3000:], file=sys.stderr)
            raise
    tell(found)


if __name__ == "__main__":
    main()
