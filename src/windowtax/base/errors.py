"""Errors that reach a person. Each says what is wrong and, as its hint, what to do about it."""


class WindowtaxError(Exception):
    """Base of every error that the command line and the server show as an answer, not as a crash.

    message: what is wrong, with the numbers. hint: what the reader can do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class BadInput(WindowtaxError):
    """A value that cannot be read or makes no sense."""


class UnknownName(WindowtaxError):
    """A name that no registry or catalog holds."""


class UnsupportedModel(WindowtaxError):
    """A model that asks for something this version cannot do exactly, so it does not try."""


class DoesNotFit(WindowtaxError):
    """A request that needs more bytes or tokens than there are. The message shows the sum."""


class FetchFailed(WindowtaxError):
    """Weights or data that could not be fetched, or arrived with the wrong hash."""


class MissingExtra(WindowtaxError):
    """An optional part of windowtax is not installed."""
