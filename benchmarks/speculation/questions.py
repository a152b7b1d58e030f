"""What is asked: each question of a real text that every Python carries, or of none.

From answers that copy their window word by word to such that never do.
"""

import inspect
import textwrap
from dataclasses import dataclass

from windowtax.texts.builtin import python_language_reference, python_topic


@dataclass(frozen=True, slots=True)
class Question:
    """text: the document in front of it, empty for none.

    filler: whether so much of the language reference stands before it that the cell's window is full.
    """

    name: str
    text: str
    asked: str
    filler: bool = True


def questions() -> list[Question]:
    """All of them, those that copy most first."""
    code = inspect.getsource(textwrap.TextWrapper)
    return [
        Question(
            "edit code",
            code,
            "Write the whole method _split_chunks and the whole method wrap again, with the variable chunks renamed to "
            "pieces everywhere. Write nothing but code.",
        ),
        Question(
            "quote",
            python_topic("identifiers"),
            "Quote, word by word, the paragraph about the normal form NFKC and the paragraph about reserved classes.",
        ),
        Question(
            "list",
            python_topic("operator-summary"),
            "List every operator of the table above with its description, one on a line.",
        ),
        Question(
            "explain",
            python_topic("with"),
            "Explain in your own words what a context manager is good for, in 120 words.",
        ),
        Question("tell", "", "Tell a story about a lighthouse keeper who repairs clocks, in 120 words.", filler=False),
    ]


def filler() -> str:
    """What stands before the document in a longer window."""
    return python_language_reference()
