"""What happens to folders: two servers on one, a full disk, flipped bits, cut, lost and foreign files."""

import asyncio
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability.answers import Answer, Load
from benchmarks.reliability.kills import verify
from benchmarks.reliability.process import ServerProcess

Damage = Callable[[Path, random.Random], None]


def two_servers(
    words: Sequence[str], prompts: Sequence[str], expected: Sequence[Answer], work: Path, *, clients: int
) -> dict[str, Any]:
    """Two servers on one folder: the second reads what the first writes, also after the first was killed."""
    tiers, everything = ("--cache-ssd", str(work / "shared")), list(range(len(prompts)))
    first, second = (Load(prompts, expected, len(expected[0].tokens)) for _ in range(2))
    after = Load(prompts, expected, len(expected[0].tokens))
    writer = ServerProcess(*words, *tiers, log=work / "writer.log")
    with ServerProcess(*words, *tiers, log=work / "reader.log") as reader:

        async def both() -> None:
            orders = everything * 2, [*reversed(everything), *everything]
            await asyncio.gather(first.run(writer.url, clients, orders[0]), second.run(reader.url, clients, orders[1]))

        try:
            asyncio.run(both())
        finally:
            writer.kill()
        # A third one takes the killed one's place while the second still reads.
        with ServerProcess(*words, *tiers, log=work / "third.log") as third:
            asyncio.run(after.run(third.url, clients, everything))
            asyncio.run(after.run(reader.url, clients, everything))
    return {
        "writer": first.record(), "reader": second.record(), "after": after.record(),
        "verified": verify(work / "shared"),
    }  # fmt: skip


def full_disk(
    words: Sequence[str], prompts: Sequence[str], expected: Sequence[Answer], folder: Path, work: Path,
    *, clients: int, file_bytes: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A folder that fills up. file_bytes: the most that a file may have, where the disk itself is not small."""
    full, again = (Load(prompts, expected, len(expected[0].tokens)) for _ in range(2))
    tiers = ("--cache-ssd", f"{folder}:1GB")
    everything = list(range(len(prompts)))
    with ServerProcess(*words, *tiers, log=work / "full.log", file_bytes=file_bytes) as server:
        asyncio.run(full.run(server.url, clients, everything * 2))
        idle = server.wait_idle()
    with ServerProcess(*words, *tiers, log=work / "full-again.log", file_bytes=file_bytes) as server:
        asyncio.run(again.run(server.url, 1, everything))
    return {"full": full.record(), "restarted": again.record(), "idle": idle, "verified": verify(folder)}


def damaged(
    words: Sequence[str], prompts: Sequence[str], expected: Sequence[Answer], work: Path, *, seed: int
) -> dict[str, Any]:
    """Every kind of damage in turn, done to a folder while no server runs; then every prompt is asked."""
    choose, folder, found = random.Random(seed), work / "damaged", dict[str, Any]()
    tiers = ("--cache-ssd", str(folder))
    for name, damage in {"none yet": lambda *_: None, **DAMAGES}.items():
        damage(folder, choose)
        load = Load(prompts, expected, len(expected[0].tokens))
        with ServerProcess(*words, *tiers, log=work / "damaged.log") as server:
            asyncio.run(load.run(server.url, 1, range(len(prompts))))
        found[name] = load.record()
    return found | {"verified": verify(folder)}


def damaged_while_running(
    words: Sequence[str], prompts: Sequence[str], expected: Sequence[Answer], work: Path, *, clients: int, seed: int
) -> dict[str, Any]:
    """The same under a server that runs and must read everything from the folder, which goes as a whole in the end."""
    choose, folder = random.Random(seed), work / "wounded"
    total = Load(prompts, expected, len(expected[0].tokens))
    everything = list(range(len(prompts)))
    damages: list[Damage] = [lambda *_: None, _flip, _cut, _flip, _lose_segment, lambda path, _: shutil.rmtree(path)]
    with ServerProcess(*words, "--cache-ssd", str(folder), log=work / "wounded.log") as server:
        for damage in damages:
            asyncio.run(total.run(server.url, clients, everything))
            server.wait_idle()
            server.forget_prefixes()
            damage(folder, choose)
        asyncio.run(total.run(server.url, clients, everything))
        idle = server.wait_idle()
    return total.record() | {"idle": idle}


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "segments").iterdir() if path.stat().st_size)


def _flip(folder: Path, choose: random.Random) -> None:
    for path in _segments(folder):
        with path.open("r+b") as file:
            place = choose.randrange(path.stat().st_size)
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 1 << choose.randrange(8)]))


def _cut(folder: Path, choose: random.Random) -> None:
    path = choose.choice(_segments(folder))
    with path.open("r+b") as file:
        file.truncate(choose.randrange(path.stat().st_size))


def _lose_index(folder: Path, _: random.Random) -> None:
    (folder / "index").unlink()


def _garble_index(folder: Path, choose: random.Random) -> None:
    (folder / "index").write_bytes(choose.randbytes(5000))


def _age_index(folder: Path, choose: random.Random) -> None:
    """An index that knows records which are there no more, and a segment that nobody wrote."""
    _cut(folder, choose)
    (folder / "segments" / "00009999.seg").write_bytes(choose.randbytes(100_000))


def _lose_segment(folder: Path, choose: random.Random) -> None:
    choose.choice(_segments(folder)).unlink()


DAMAGES: dict[str, Damage] = {
    "a flipped bit in every segment": _flip,
    "a segment cut short": _cut,
    "no index": _lose_index,
    "an index of noise": _garble_index,
    "a cut segment and one of noise": _age_index,
    "a lost segment": _lose_segment,
}
