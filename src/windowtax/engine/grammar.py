"""What an answer must follow: JSON schemas, regular expressions, Lark grammars. llguidance does the work.

Torch-free. A grammar is compiled once and followed token by token by each request on its own: llguidance tells which
tokens may come next, and when nothing more can.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windowtax.base.errors import BadInput, MissingExtra, WindowtaxError

if TYPE_CHECKING:
    import numpy as np
    from llguidance import LLMatcher, LLTokenizer
    from numpy.typing import NDArray

    from windowtax.engine.tokenizer import Tokenizer

_KEPT = 64
_SENTINEL = "\x02"
# One space, or a line break with its indentation: as much as any printer writes. Without an end to it, weak models
# write blanks until max_tokens.
_JSON_STYLE = {"whitespace_pattern": r" |\n[ \t]{0,60}"}


@dataclass(frozen=True, eq=False)
class Grammar:
    """A compiled grammar. vocab_size: of the model that it is for. warnings: what it may not do as written.

    source: as llguidance reads it.
    """

    source: str
    vocab_size: int
    warnings: tuple[str, ...]
    _prototype: "LLMatcher"

    def follow(self) -> "Follower":
        """A new answer at its beginning."""
        return Follower(self.vocab_size, self._prototype.deep_copy())


class Follower:
    """Where one answer stands in its grammar."""

    def __init__(self, vocab_size: int, matcher: "LLMatcher") -> None:
        self._vocab_size = vocab_size
        self._matcher = matcher

    @property
    def ended(self) -> bool:
        """Whether nothing may follow: the answer is complete."""
        return self._matcher.is_stopped()

    def advance(self, token_ids: list[int]) -> None:
        """The answer grew by these tokens. Raises WindowtaxError where the grammar does not allow them."""
        if token_ids and not self._matcher.consume_tokens(token_ids):
            raise self._error()

    def allows(self, token_id: int) -> bool:
        """Whether the grammar lets this token come next; much cheaper than `allowed`.

        Where only one text can follow, `allowed` names its usual spelling alone; this says yes to others too.
        """
        return self._matcher.validate_tokens([token_id]) == 1

    def allowed(self) -> "NDArray[np.bool_]":
        """[vocab_size]: which tokens may come next. Raises WindowtaxError where the grammar is too complex."""
        import numpy as np

        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise self._error()
        unpacked = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
        return unpacked[: self._vocab_size].view(np.bool_)

    def _error(self) -> WindowtaxError:
        return WindowtaxError(f"The answer cannot follow its grammar: {_first_line(self._matcher.get_error())}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """How a model writes calls of tools: begin, a JSON object with two keys, end; `between` two calls."""

    begin: str
    end: str
    between: str
    name_key: str = "name"
    arguments_key: str = "arguments"


HERMES_CALLS = CallForm(begin="<tool_call>\n", end="\n</tool_call>", between="\n")
LLAMA_CALLS = CallForm(begin="", end="", between="; ", arguments_key="parameters")


class Grammars:
    """Compiles grammars for one model; the same grammar only once. Any thread may use it.

    tokenizer: its tokens' bytes are what a grammar is about. vocab_size: of the model's logits.
    """

    def __init__(self, tokenizer: "Tokenizer", vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._lock = threading.Lock()
        self._adapted: LLTokenizer | None = None
        self._kept: OrderedDict[str, Grammar] = OrderedDict()

    def json_schema(self, schema: Mapping[str, Any] | bool) -> Grammar:
        """JSON that a schema (Draft 2020-12) describes, with properties in its order.

        Raises BadInput for what cannot be followed exactly, naming it; so do the others.
        """
        return self._compile("JSON schema", lambda module: module.grammar_from_json_schema(_json_text(schema)))

    def json_object(self) -> Grammar:
        """Any JSON object."""
        return self.json_schema({"type": "object"})

    def regex(self, pattern: str) -> Grammar:
        """Texts that match as a whole; the syntax of Rust's `regex`, without look-around."""
        return self._compile("regular expression", lambda module: module.grammar_from_regex(pattern))

    def context_free(self, grammar: str) -> Grammar:
        """Texts that a grammar describes: Lark in llguidance's dialect, or llama.cpp's GBNF."""
        return self._compile("grammar", lambda _: _lark_or_gbnf(grammar))

    def choice(self, texts: Sequence[str]) -> Grammar:
        """One of these texts. Raises BadInput where there is none."""
        if not texts or not all(texts):
            raise BadInput("A choice needs texts that are not empty.", 'For example ["yes", "no"].')
        return self.context_free("start: " + " | ".join(_literal(text) for text in texts))

    def tool_calls(
        self, tools: Mapping[str, Mapping[str, Any]], form: CallForm, *, required: bool, parallel: bool
    ) -> Grammar:
        """Calls of tools. tools: the JSON schema of the arguments, by name. required: an answer is a call, else it may
        be text, or (where calls have a beginning to be known by) text and calls. parallel: more than one call."""
        if not tools:
            raise BadInput("There are no tools to call.", "Give at least one, or leave the tools out.")
        return self.context_free(_tool_grammar(tools, form, required, parallel))

    def after_thoughts(self, grammar: Grammar, begin: str, end: str, *, opened: bool) -> Grammar:
        """What `grammar` describes, behind thoughts that are free: from `begin` to `end`, or not at all.

        opened: the thoughts have begun already and must end.
        """
        first = "thoughts" if opened else f"({_literal(begin)} thoughts)?"
        lines = [
            f"start: {first} @answer",
            r"thoughts: thought /\s{0,4}/",
            rf"thought[lazy]: /(.|\n)*/ {_literal(end)}",
        ]
        parts = _parts(grammar.source)
        whole = {"grammars": [{"lark_grammar": "\n".join(lines)}, {**parts[0], "name": "answer"}, *parts[1:]]}
        return self._compile("grammar", lambda _: json.dumps(whole))

    def _compile(self, kind: str, write: "Callable[[type[LLMatcher]], str]") -> Grammar:
        try:
            from llguidance import LLMatcher
        except ImportError as error:
            raise MissingExtra(
                "Grammars need llguidance.", 'Install it with: pip install "windowtax[serve]"'
            ) from error
        try:
            grammar = write(LLMatcher)
        except ValueError as error:
            raise _refusal(kind, str(error)) from error
        with self._lock:
            found = self._kept.get(grammar)
            if found is None:
                found = self._kept[grammar] = self._compiled(kind, grammar)
            self._kept.move_to_end(grammar)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _compiled(self, kind: str, grammar: str) -> Grammar:
        from llguidance import LLMatcher

        if self._adapted is None:
            self._adapted = _adapted(self._tokenizer, self._vocab_size)
        prototype = LLMatcher(self._adapted, grammar, log_level=0)
        if prototype.is_error():
            raise _refusal(kind, prototype.get_error())
        return Grammar(grammar, self._vocab_size, tuple(prototype.get_grammar_warnings()), prototype)


class _Vocabulary:
    """A Tokenizer as llguidance asks for it: the attributes are its names."""

    def __init__(self, tokenizer: "Tokenizer", vocab_size: int) -> None:
        ends = tokenizer.stop_token_ids
        self._tokenizer = tokenizer
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
        self.special_token_ids = [i for i in range(vocab_size) if tokenizer.is_special(i) or i in ends]
        self.bos_token_id = tokenizer.bos_token_id
        if not ends:  # llguidance needs an end; this one is beyond the logits, so it is never chosen
            self.tokens.append(b"")
            self.special_token_ids.append(vocab_size)
        self.end_ids = sorted(ends) or [vocab_size]
        self.eos_token_id = self.end_ids[0]
        self.spell: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False)

    def __call__(self, text: str) -> list[int]:
        """The ids of a text in the middle of another: some tokenizers put a space before what begins a text."""
        ids = self._tokenizer.encode(_SENTINEL + text, add_special_tokens=False)
        wanted, found = text.encode(), b""
        for place in range(len(ids) - 1, -1, -1):
            found = self.tokens[ids[place]] + found
            if found == wanted:
                return ids[place:]
        # A normaliser changed the text, or the sentinel became one token with what follows it.
        return self.spell(text)


def _adapted(tokenizer: "Tokenizer", vocab_size: int) -> "LLTokenizer":
    from llguidance import LLTokenizer, TokenizerWrapper

    vocabulary = _Vocabulary(tokenizer, vocab_size)
    adapted = LLTokenizer(TokenizerWrapper(vocabulary), eos_token=vocabulary.end_ids)
    vocabulary.spell = adapted.greedy_tokenize
    return adapted


def _lark_or_gbnf(grammar: str) -> str:
    from llguidance import grammar_from

    return grammar_from("grammar", grammar)


def _tool_grammar(tools: Mapping[str, Mapping[str, Any]], form: CallForm, required: bool, parallel: bool) -> str:
    lines: list[str] = []
    for index, (name, schema) in enumerate(tools.items()):
        head = f"{{{json.dumps(form.name_key)}: {json.dumps(name)}, {json.dumps(form.arguments_key)}: "
        lines.append(f"call_{index}: {_literal(head)} %json {_json_text(schema or {'type': 'object'})} {_literal('}')}")
    lines.append("call: " + " | ".join(f"call_{index}" for index in range(len(tools))))
    lines.append(f"marked: {_literal(form.begin)} call {_literal(form.end)}")
    lines.append(f"calls: marked ({_literal(form.between)} marked)*" if parallel else "calls: marked")
    if required:
        lines.append("start: calls")
    elif form.begin:
        lines.append(f"opening[lazy]: /(.|\\n)*/ {_literal(form.begin)}")
        opened = f"opening call {_literal(form.end)}"
        lines.append(f"start: ({opened})* REST" if parallel else f"start: {opened} | REST")
        lines.append("REST: /(.|\\n)*/")
    else:
        lines += ["start: TEXT | calls", r"TEXT: /([^{](.|\n)*)?/"]
    return "\n".join(lines)


def _parts(source: str) -> list[dict[str, Any]]:
    """A grammar as llguidance's list of grammars, of which the first is the one to begin with."""
    return json.loads(source)["grammars"] if source.lstrip().startswith("{") else [{"lark_grammar": source}]


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else '""'


def _json_text(schema: Mapping[str, Any] | bool) -> str:
    """The schema as text, with our style of blanks where it asks for none itself."""
    if isinstance(schema, bool):
        return _json_text({} if schema else {"enum": []})
    if not isinstance(schema, Mapping):
        raise BadInput(f"The JSON schema is {schema!r}.", "Give an object.")
    return json.dumps({"x-guidance": _JSON_STYLE, **schema}, ensure_ascii=False)


def _refusal(kind: str, error: str) -> BadInput:
    # An error in a regular expression is told over several lines, with the reason in the last.
    reasons = [line for line in error.strip().splitlines()[1:] if line.startswith("error: ")]
    told = " ".join([_first_line(error), *reasons])
    return BadInput(f"The {kind} cannot be followed: {told}", "Leave that out, or write it another way.")


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0][:300]
