"""What a folder of kept prefixes holds, for people: runs of blocks as a tree, and what can be done with them.

A run is a row of blocks that one prompt after the other went through without leaving it: two prompts with the same
beginning make three runs, the beginning and the two ends.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from windowtax.base.errors import BadInput, DoesNotFit, UnknownName
from windowtax.base.units import format_bytes
from windowtax.cache.prefix import chain_key
from windowtax.cache.tiers import rank
from windowtax.store.disk.folder import Form
from windowtax.store.disk.index import Entry
from windowtax.store.disk.record import ROOT
from windowtax.store.disk.shelf import Counters
from windowtax.store.disk.tier import DiskTier


@dataclass(slots=True, eq=False)
class Run:
    """Blocks in a row. before: the run that it continues."""

    entries: list[Entry]
    before: "Run | None" = None
    after: list["Run"] = field(default_factory=list["Run"])

    @property
    def key(self) -> str:
        """The name of its first block, in hexadecimal: it stays the same while the run grows."""
        return self.entries[0].key.hex()

    @property
    def first_token(self) -> int:
        """How many tokens lie before it."""
        return sum(run.num_tokens for run in self.path[:-1])

    @property
    def num_tokens(self) -> int:
        return sum(entry.num_tokens for entry in self.entries)

    @property
    def num_bytes(self) -> int:
        """Of its records on the disk."""
        return sum(entry.record_bytes for entry in self.entries)

    @property
    def hits(self) -> int:
        """How often a prompt went on from its first block."""
        return self.entries[0].hits

    @property
    def last_used_s(self) -> float:
        return max(entry.last_used_s for entry in self.entries)

    @property
    def pinned(self) -> bool:
        """Whether any of it is; what was added since may not be."""
        return any(entry.pinned for entry in self.entries)

    @property
    def path(self) -> list["Run"]:
        """The runs from the beginning of the prompt to this one."""
        runs: list[Run] = [self]
        run = self.before
        while run is not None:
            runs.append(run)
            run = run.before
        return runs[::-1]

    def subtree(self) -> Iterator["Run"]:
        """This run and all that continue it, parents first."""
        ahead = [self]
        while ahead:
            run = ahead.pop()
            yield run
            ahead += run.after


class KeptPrefixes:
    """A folder, read once. writes: to change it, which one process at a time may do. Raises BadInput."""

    def __init__(self, folder: Path, *, writes: bool = False) -> None:
        self.tier = DiskTier(folder, None, fingerprint=ROOT, rank=rank, read_only=not writes)
        if writes and self.tier.read_only:
            raise BadInput(f"Another process writes to {folder}.", "Stop that server first.")
        self.forms: dict[bytes, Form] = self.tier.folder.forms()
        self._entries = {entry.key: entry for entry in self.tier.shelf.entries()}
        self.roots, reached = _runs(self._entries)
        self.unreachable = [entry for entry in self._entries.values() if entry.key not in reached]

    def close(self) -> None:
        self.tier.close()

    @property
    def file_bytes(self) -> int:
        """Of all segment files."""
        return self.tier.shelf.file_bytes

    @property
    def counters(self) -> Counters:
        """What opening it, and reading since, brought to light."""
        return self.tier.counters

    def runs(self) -> Iterator[Run]:
        """All runs, each behind the one that it continues."""
        for root in self.roots:
            yield from root.subtree()

    def form_of(self, run: Run) -> Form:
        """What is known of its records: model, dtypes."""
        return self.forms.get(run.entries[0].fingerprint, {})

    def find(self, word: str) -> Run:
        """The run that holds the block whose name begins so. Raises UnknownName, BadInput where several do."""
        found = [run for run in self.runs() if any(entry.key.hex().startswith(word.lower()) for entry in run.entries)]
        if not found:
            raise UnknownName(f"No kept prefix is called {word}.", "`windowtax cache ls` shows their names.")
        if len(found) > 1:
            raise BadInput(f"{len(found)} kept prefixes begin with {word}.", "Write more of the name.")
        return found[0]

    def token_ids(self, run: Run, limit: int) -> list[int]:
        """Its first tokens; fewer where a record's head cannot be read."""
        ids: list[int] = []
        for entry in run.entries:
            head = self.tier.shelf.head(entry)
            if head is None or len(ids) >= limit:
                break
            ids += head.token_ids
        return ids[:limit]

    def verify(self) -> list[Entry]:
        """Reads every record whole; those that are damaged or do not carry the tokens of their name, which go."""
        bad: list[Entry] = []
        for entry in self._entries.values():
            record = self.tier.shelf.read(entry.key, entry.fingerprint)
            content = b"" if record is None else array("q", record.token_ids).tobytes()
            if record is None or (record.depth and chain_key(record.parent, content) != record.key):
                bad.append(entry)
        if bad and not self.tier.read_only:
            lost = {entry.key for entry in bad}
            self.tier.compact(lambda entry: entry.key not in lost)
        return bad

    def pin(self, run: Run, *, pinned: bool) -> int:
        """Pins the whole prefix that ends with this run, or lets it go again; returns the bytes that are pinned now.

        A server that uses the folder sees it before it lets anything go.
        """
        keys = {entry.key for one in run.path for entry in one.entries}
        # What other pinned prefixes share with this one stays pinned.
        shared = {
            entry.key
            for one in self.runs()
            if one.pinned and one not in run.path
            for p in one.path
            for entry in p.entries
        }
        old = {entry.key for entry in self._entries.values() if entry.pinned}
        pins = old | keys if pinned else (old - keys) | shared
        num_bytes = sum(self._entries[key].record_bytes for key in pins)
        self.tier.folder.set_pins(frozenset(pins))
        return num_bytes

    def collect(self, budget_bytes: int | None = None) -> None:
        """Lets go what no prompt can reach, and the least recently used of the rest until it fits.

        Raises DoesNotFit where pinned prefixes alone do not.
        """
        entries = [entry for run in self.runs() for entry in run.entries]
        keep = {entry.key for entry in entries}
        if budget_bytes is not None:
            left, keep = budget_bytes, set[bytes]()
            for entry in sorted(entries, key=lambda one: (one.pinned, *rank(one)), reverse=True):
                left -= entry.record_bytes
                if left < 0 and entry.pinned:
                    text = f"What is pinned does not fit into {format_bytes(budget_bytes)}."
                    raise DoesNotFit(text, "`windowtax cache pin NAME --off` first, or give more.")
                if left < 0:
                    break
                keep.add(entry.key)
        self.tier.compact(lambda entry: entry.key in keep)

    def clear(self, run: Run | None = None) -> None:
        """Lets go of a run and all that continues it, or of everything."""
        gone = None if run is None else {entry.key for one in run.subtree() for entry in one.entries}
        self.tier.compact(lambda entry: gone is not None and entry.key not in gone)
        self.tier.folder.set_pins(
            frozenset(key for key in self.tier.folder.pins() if gone is not None and key not in gone)
        )

    def copy_to(self, other: "KeptPrefixes", runs: Iterable[Run]) -> tuple[int, int]:
        """Copies runs into another folder, open for writing; returns records and bytes. Damaged ones are left."""
        count = num_bytes = 0
        for run in runs:
            for entry in run.entries:
                record = self.tier.shelf.read(entry.key, entry.fingerprint)
                if record is None:
                    break
                if not other.tier.put(record):
                    other.tier.flush()
                    if not other.tier.put(record):
                        raise DoesNotFit(f"{other.tier.folder.path}: {other.tier.stopped}.", "Make room there.")
                count, num_bytes = count + 1, num_bytes + record.payload_bytes
        for fingerprint, form in self.forms.items():
            other.tier.folder.set_form(fingerprint, form)
        other.tier.flush()
        return count, num_bytes


def whole_paths(runs: Sequence[Run]) -> list[Run]:
    """These runs, all that continue them, and all that they continue; each once, parents first."""
    wanted = [one for run in runs for one in (*run.path, *run.subtree())]
    return list(dict.fromkeys(wanted))


def words_of(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str] | None, limit: int = 60) -> str:
    """The first words, on one line; token ids where nothing can decode them."""
    text = " ".join(map(str, token_ids) if decode is None else decode(token_ids).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _runs(entries: dict[bytes, Entry]) -> tuple[list[Run], set[bytes]]:
    """The trees, newest use first, and the keys in them: what is not in them has lost its beginning."""
    following: dict[bytes, list[Entry]] = {}
    for entry in entries.values():
        following.setdefault(entry.parent if entry.depth else ROOT, []).append(entry)
    roots: list[Run] = []
    reached: set[bytes] = set()
    open_ends: list[tuple[Run | None, Entry]] = [(None, entry) for entry in following.get(ROOT, []) if not entry.depth]
    while open_ends:
        before, entry = open_ends.pop()
        run = Run([entry], before)
        (roots if before is None else before.after).append(run)
        reached.add(entry.key)
        after = following.get(entry.key, [])
        while len(after) == 1:
            run.entries.append(after[0])
            reached.add(after[0].key)
            after = following.get(after[0].key, [])
        open_ends += [(run, one) for one in after]
    roots.sort(key=lambda run: max(one.last_used_s for one in run.subtree()), reverse=True)
    return roots, reached
