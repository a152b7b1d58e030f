"""From `--cache-ram BYTES` and `--cache-ssd PATH[:BYTES]` to tiers that are open."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from windowtax.base.errors import BadInput
from windowtax.base.folders import cache_folder
from windowtax.base.units import parse_bytes
from windowtax.cache.tiers import rank
from windowtax.engine.lower import LowerTiers
from windowtax.spec.cache import CacheLayout
from windowtax.store.disk.tier import DiskTier

log = logging.getLogger("windowtax.cache")
_FREE_SHARE = 0.5
_LEAST_BYTES = 16 << 20


def default_folder() -> Path:
    """Where prefixes are kept unless somebody says otherwise."""
    return cache_folder() / "prefixes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierOptions:
    """Tiers below the device. ram_bytes: 0 for none. ssd: None for none. ssd_bytes: of all files in that folder."""

    ram_bytes: int = 0
    ssd: Path | None = None
    ssd_bytes: int = 0

    @classmethod
    def parse(cls, cache_ram: str | None, cache_ssd: str | None) -> "TierOptions":
        """As typed: "8GiB"; "/data/kept:200GB", or a path alone for half of what is free there. Raises BadInput."""
        ram_bytes = 0 if cache_ram in (None, "", "0") else parse_bytes(str(cache_ram))
        if not cache_ssd:
            return cls(ram_bytes=ram_bytes)
        folder, size = _split(cache_ssd)
        return cls(ram_bytes=ram_bytes, ssd=folder, ssd_bytes=_half_of_free(folder) if size is None else size)


def open_tiers(
    options: TierOptions, *, fingerprint: bytes, layout: CacheLayout, form: dict[str, Any] | None = None
) -> LowerTiers | None:
    """The tiers; None where there are none to be. Raises BadInput for a folder that cannot be used.

    fingerprint: of all that cached bytes depend on beside tokens (LoadedModel.fingerprint). form: what `windowtax
    cache` should know of these records; "model" and "source" (what `read_model` understands), "cache_dtype", "weights".
    """
    if options.ssd is None:
        return LowerTiers(options.ram_bytes) if options.ram_bytes else None
    # Blocks of another shape must not be read as these, even of the same model: the layout is a part of the name.
    shape = repr([(group.layers, group.cache) for group in layout.groups])
    name = blake3(fingerprint + layout.block_size.to_bytes(4, "little") + shape.encode()).digest(16)
    known = {**(form or {}), "block_tokens": layout.block_size, "layers": sum(len(g.layers) for g in layout.groups)}
    disk = DiskTier(options.ssd, options.ssd_bytes, fingerprint=name, rank=rank, form=known)
    if disk.stopped is not None:
        log.warning("prefixes are read, not written", extra={"facts": {"why": disk.stopped}})
    return LowerTiers(options.ram_bytes, disk)


def _split(text: str) -> tuple[Path, int | None]:
    head, colon, tail = text.rpartition(":")
    if not colon or "/" in tail:
        return Path(text).expanduser(), None
    if not head:
        raise BadInput(f"{text!r} names no folder.", "Write --cache-ssd /data/kept:200GB.")
    size = parse_bytes(tail)
    if size < _LEAST_BYTES:
        raise BadInput(f"{tail} is too little to keep prefixes in.", "Give 16MiB at least.")
    return Path(head).expanduser(), size


def _half_of_free(folder: Path) -> int:
    """Half of what the folder takes and what is free beside it, so that restarts come to the same."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    taken = sum(path.stat().st_size for path in folder.glob("segments/*")) if folder.is_dir() else 0
    return max(_LEAST_BYTES, int((shutil.disk_usage(there).free + taken) * _FREE_SHARE))
