"""The three calls the rest of windowtax needs: is the model here, bring it, and what does this name mean."""

from pathlib import Path

from windowtax.base.errors import BadInput
from windowtax.hub.catalog import find_source
from windowtax.hub.progress import OnProgress, no_progress
from windowtax.hub.shelf import Shelf, default_folder, not_kept


def shelf(folder: Path | None = None) -> Shelf:
    """The shelf of all catalogued models in `folder` (the user's cache folder unless given)."""
    return Shelf(folder or default_folder())


def path(name: str, *, folder: Path | None = None) -> Path | None:
    """The file of a kept, verified model, or None. Raises UnknownName."""
    return shelf(folder).path(name)


def pull(name: str, *, progress: OnProgress = no_progress, folder: Path | None = None) -> Path:
    """The file of a model, fetched first if it is not kept. Raises UnknownName, FetchFailed, MissingExtra."""
    return shelf(folder).pull(name, progress)


def verify(name: str, *, folder: Path | None = None) -> Path:
    """The file of a kept model after hashing it anew. Raises UnknownName, FetchFailed (a wrong file is removed)."""
    return shelf(folder).verify(name)


def resolve(
    name_or_path: str,
    *,
    fetch: bool = True,
    progress: OnProgress = no_progress,
    folder: Path | None = None,
    on: Shelf | None = None,
) -> Path:
    """What a user's word for a model stands for: an existing file or folder as it is, else a model's name.

    A name that is not kept is pulled if `fetch`, else FetchFailed says how. `on` replaces the shelf of `folder`.
    Raises UnknownName with near names, BadInput for a path that does not exist, FetchFailed, MissingExtra.
    """
    given = Path(name_or_path).expanduser()
    if name_or_path and given.exists():
        return given
    if "/" in name_or_path or "\\" in name_or_path or given.suffix.lower() in (".gguf", ".safetensors"):
        raise BadInput(
            f"There is no file or folder {name_or_path!r}.", "Check the path; `windowtax models list` shows names."
        )
    models = on or shelf(folder)
    source = find_source(name_or_path, models.sources)
    if fetch:
        return models.pull(source.name, progress)
    kept = models.path(source.name)
    if kept is None:
        raise not_kept(source, models.place(source.name))
    return kept
