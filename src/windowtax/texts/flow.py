"""Lays out text as a reader of a page sees it: white space folded, blocks on lines of their own, `pre` as it is."""

import re

_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0]+")
_SOFT_HYPHEN = "\u00ad"


class Flow:
    """Collects text. A break that is asked for is made only once more text follows, so breaks never pile up."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._breaks = 0
        self._space = False
        self._after_mark = False
        self._ends_in_mark = False

    def text(self, data: str) -> None:
        """Running text: white space is folded to one space, and dropped at the edges of a line."""
        folded = _SPACE.sub(" ", data.replace(_SOFT_HYPHEN, ""))
        words = folded.strip(" ")
        self._space = self._space or folded.startswith(" ")
        if words:
            self._put(words)
            self._space = folded.endswith(" ")

    def verbatim(self, data: str) -> None:
        """Text whose white space counts."""
        if data:
            self._put(data)

    def line(self) -> None:
        """What follows begins on a new line, unless a mark stands before it."""
        self._break(1)

    def line_break(self) -> None:
        """The line ends here; ended twice, it leaves an empty line."""
        self._break(min(2, self._breaks + 1))

    def paragraph(self) -> None:
        """What follows begins after an empty line, unless a mark stands before it."""
        self._break(2)

    def entry(self) -> None:
        """A list item or table row begins here: a new line in any case."""
        self._after_mark = False
        self._break(1)

    def end_entry(self) -> None:
        """A list item or table row ends here: one new line, whatever its content asked for at its end."""
        self._after_mark = False
        self._breaks = 0
        self._break(1)

    def mark(self, mark: str) -> None:
        """What an item or a cell begins with; what follows stays on its line."""
        self._put(mark)
        self._after_mark = self._ends_in_mark = True

    def next_cell(self) -> None:
        """A further cell of the same row begins: the breaks that the last cell asked for at its end are dropped."""
        self._breaks = 0
        self._space = False
        self.mark(" | ")

    def result(self) -> str:
        """All of it, without empty lines before and after."""
        self._end_mark()
        return "".join(self._parts).strip("\n")

    def _break(self, num_newlines: int) -> None:
        self._space = False
        if self._parts and not self._after_mark:
            self._breaks = max(self._breaks, num_newlines)

    def _put(self, data: str) -> None:
        if self._breaks:
            self._end_mark()
            last = self._parts[-1]
            self._parts.append("\n" * (self._breaks - (len(last) - len(last.rstrip("\n")))))
        elif self._space and not self._after_mark and self._parts:
            self._parts.append(" ")
        self._parts.append(data)
        self._breaks, self._space = 0, False
        self._after_mark = self._ends_in_mark = False

    def _end_mark(self) -> None:
        """A mark that nothing followed loses its space."""
        if self._ends_in_mark:
            self._parts[-1] = self._parts[-1].rstrip(" ")
