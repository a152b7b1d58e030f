"""The long texts that every Python carries."""

import pytest

from windowtax.base.errors import BadInput, UnknownName
from windowtax.texts.builtin import BUILTIN, python_language_reference, python_topic, python_topics
from windowtax.texts.read import read_documents


def test_the_reference_is_long_complete_and_the_same_each_time() -> None:
    text = python_language_reference()
    assert len(text) > 300_000
    assert text == python_language_reference()
    headings = [line for line in text.splitlines() if line.startswith("==== Python topic: ")]
    assert headings == [f"==== Python topic: {name} ====" for name in sorted(python_topics())]


def test_topics_are_read_as_documents() -> None:
    reading = read_documents(["builtin:python-reference/with, try", "builtin:python-reference"])
    two, everything = reading.documents
    assert two.name == "builtin:python-reference/with, try" and two.media == "text"
    assert two.text.startswith('==== Python topic: with ====\n\nThe "with" statement')
    assert two.text.index("topic: with") < two.text.index("topic: try")
    assert python_topic("with").strip() in two.text and python_topic("WITH") == python_topic("with")
    assert everything.text == BUILTIN["python-reference"](())


def test_unknown_topics_and_texts_get_near_names() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*with"):
        read_documents(["builtin:python-reference/wiht"])
    with pytest.raises(UnknownName, match=r"There are: .*assert"):
        python_topic("0")
    with pytest.raises(UnknownName, match="Did you mean builtin:python-reference"):
        read_documents(["builtin:python-referense"])
    with pytest.raises(UnknownName, match="There are: python-reference"):
        read_documents(["builtin:"])
    with pytest.raises(BadInput, match="names no topic"):
        read_documents(["builtin:python-reference/"])
