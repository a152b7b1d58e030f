"""A web page to the text its reader sees, by the standard library's parser; broken markup is read as far as it goes."""

from html.parser import HTMLParser

from windowtax.texts.flow import Flow

_DROPPED = frozenset({"script", "style", "template", "svg", "iframe", "title", "head"})
# A page may leave out </head>: whatever is none of these ends it.
_IN_HEAD = frozenset({"title", "meta", "link", "base", "script", "style", "noscript", "template"})
_PARAGRAPHS = frozenset(
    {
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "pre",
        "table",
        "ul",
        "ol",
        "dl",
        "hr",
        "figure",
        "article",
        "section",
        "header",
        "footer",
        "nav",
        "aside",
        "main",
    }
)
_LINES = frozenset(
    {
        "div",
        "dt",
        "dd",
        "address",
        "caption",
        "figcaption",
        "form",
        "fieldset",
        "legend",
        "option",
        "summary",
        "details",
        "body",
        "html",
    }
)
_ENTRIES = frozenset({"li", "tr"})
# Lists that are never closed must not make a text of quadratic length.
_MAX_INDENT = 10
_CELLS = frozenset({"td", "th"})


def html_to_text(html: str) -> str:
    """The readable text: blocks and table rows on lines of their own, cells parted by " | ", items marked "-" or "1.",
    `pre` as it is, the text of links, the `alt` of images; without scripts, styles and the head. Raises nothing."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.flow.result()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.flow = Flow()
        self._dropping: list[str] = []
        self._num_pre = 0
        self._pre_begins = False
        self._lists: list[int | None] = []
        self._cells: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropping == ["head"] and tag not in _IN_HEAD:
            self._dropping.clear()
        if tag in _DROPPED:
            self._dropping.append(tag)
        if self._dropping:
            return
        self._pre_begins = False
        self._breaks(tag)
        if tag == "br":
            self._line_break()
        elif tag == "img":
            self.flow.text(dict(attrs).get("alt") or "")
        elif tag == "pre":
            self._num_pre += 1
            self._pre_begins = True
        elif tag in ("ul", "ol"):
            self._lists.append(_first_number(attrs) if tag == "ol" else None)
        elif tag == "li":
            self._begin_item()
        elif tag == "table":
            self._cells.append(0)
        elif tag == "tr" and self._cells:
            self._cells[-1] = 0
        elif tag in _CELLS:
            self._begin_cell()

    def handle_endtag(self, tag: str) -> None:
        if self._dropping:
            if tag in self._dropping:
                del self._dropping[self._dropping.index(tag) :]
            return
        if tag == "pre":
            self._num_pre = max(0, self._num_pre - 1)
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            self.flow.entry()
        elif tag == "table" and self._cells:
            self._cells.pop()
            self.flow.entry()
        if tag in _ENTRIES:
            self.flow.end_entry()
        else:
            self._breaks(tag)

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        if self._num_pre:
            # The line end right after <pre> belongs to the markup, not to the text.
            self.flow.verbatim(data.removeprefix("\n") if self._pre_begins else data)
        else:
            self.flow.text(data)
        self._pre_begins = False

    def _breaks(self, tag: str) -> None:
        if tag in _ENTRIES:
            self.flow.entry()
        elif tag in ("ul", "ol") and self._lists:
            self.flow.line()
        elif tag in _PARAGRAPHS:
            self.flow.paragraph()
        elif tag in _LINES:
            self.flow.line()

    def _line_break(self) -> None:
        if self._num_pre:
            self.flow.verbatim("\n")
        else:
            self.flow.line_break()

    def _begin_item(self) -> None:
        indent = "  " * min(max(0, len(self._lists) - 1), _MAX_INDENT)
        number = self._lists[-1] if self._lists else None
        if number is None:
            self.flow.mark(f"{indent}- ")
        else:
            self.flow.mark(f"{indent}{number}. ")
            self._lists[-1] = number + 1

    def _begin_cell(self) -> None:
        if not self._cells:
            self.flow.text(" ")
        elif self._cells[-1] > 0:
            self.flow.next_cell()
        else:
            self.flow.mark("")
        if self._cells:
            self._cells[-1] += 1


def _first_number(attrs: list[tuple[str, str | None]]) -> int:
    start = dict(attrs).get("start") or ""
    return int(start) if start.strip().lstrip("-").isdecimal() else 1
