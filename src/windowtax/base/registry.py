"""A registry is a folder: each module in it registers what it defines, and adding a file is the whole registration."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import ModuleType
from typing import Generic, TypeVar, cast

from windowtax.base.errors import UnknownName

T = TypeVar("T")
U = TypeVar("U")


class Registry(Generic[T]):
    """Named things of one sort, filled by importing every module of a package once.

    what: the word used in errors ("model family"). package: the dotted name of the folder to import.
    """

    def __init__(self, what: str, package: str) -> None:
        self._what = what
        self._package = package
        self._items: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[U], U]:
        """Decorator that files an item under `name`. A second item of the same name is a programming error."""

        def add(item: U) -> U:
            if name in self._items:
                raise RuntimeError(f"{self._what} {name!r} is registered twice")
            # The decorated class keeps its own type for its users; the registry sees what it is declared to hold.
            self._items[name] = cast(T, item)
            return item

        return add

    def get(self, name: str) -> T:
        """The item of that name. Raises UnknownName, which lists the names there are."""
        found = self.find(name)
        if found is None:
            near = get_close_matches(name, self._items, n=3)
            hint = f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(sorted(self._items))}."
            raise UnknownName(f"There is no {self._what} called {name!r}.", hint)
        return found

    def find(self, name: str) -> T | None:
        """The item of that name or None. A module of that name is looked into before the whole folder is imported."""
        if name not in self._items and not self._loaded and name.isidentifier():
            module = f"{self._package}.{name}"
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)
        if name not in self._items:
            self._load()
        return self._items.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._items)

    def items(self) -> Iterator[tuple[str, T]]:
        """(name, item) pairs, sorted by name."""
        self._load()
        return iter(sorted(self._items.items(), key=lambda pair: pair[0]))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._items

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package: ModuleType = importlib.import_module(self._package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            importlib.import_module(f"{self._package}.{module.name}")
