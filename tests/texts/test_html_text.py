"""HTML to the text its reader sees."""

import time

import pytest

from windowtax.texts.html import html_to_text

CASES = {
    "white space is folded": ("<p>one \n\t two&nbsp;three</p>", "one two three"),
    "inline tags do not part words": ("<b>a</b>b<i>c</i> <a href='x'>link</a>.", "abc link."),
    "soft hyphens go": ("co&shy;operate", "cooperate"),
    "entities": ("&lt;b&gt; &amp; &#8364; &eacute; &unknown; 3 < 4", "<b> & € é &unknown; 3 < 4"),
    "paragraphs": ("<h1>T</h1><p>a<p>b</p>c", "T\n\na\n\nb\n\nc"),
    "line breaks": ("a<br>b<br/><br>c", "a\nb\n\nc"),
    "divs": ("<div>a<div>b</div></div><div></div><div>c</div>", "a\nb\nc"),
    "head, script and style go": (
        "<html><head><title>T</title><style>p{}</style></head><body><script>if (a<b) '</p>'</script>x</body></html>",
        "x",
    ),
    "an open head ends at the first text tag": ("<head><meta charset=utf-8><title>T</title><h1>x</h1>", "x"),
    "an open script takes the rest": ("a<script>b</p>c", "a"),
    "comments go": ("a<!-- <p>no</p> -->b", "ab"),
    "drawings and templates go": ("a<svg><title>s</title><text>t</text></svg><template><p>u</p></template>b", "ab"),
    "lists": ("<ul><li>a<li><b>b</b></ul>c", "- a\n- b\n\nc"),
    "numbered lists": ("<ol start=3><li>a</li><li>b</li></ol>", "3. a\n4. b"),
    "a number that is none": ("<ol start='x²'><li>a</ol>", "1. a"),
    "nested lists": ("<ul><li>a<ol><li>b<li>c</ol><li>d</ul>", "- a\n  1. b\n  2. c\n- d"),
    "a paragraph in an item": ("<ul><li><p>a</p></li><li><p>b</p></li></ul>", "- a\n- b"),
    "two paragraphs in an item": ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\n\nb\n- c"),
    "paragraphs in cells": (
        "<table><tr><td><p>1</p></td><td><p>2</p></td></tr><tr><td><p>3</p></td></tr></table>",
        "1 | 2\n3",
    ),
    "an empty item": ("<ul><li></ul>x", "-\n\nx"),
    "table": (
        "<table><tr><th>A<th>B</tr><tr><td><p>1</p></td><td><p>2</p></td></tr></table>x",
        "A | B\n1 | 2\n\nx",
    ),
    "empty cells": ("<table><tr><td>a<td><td>c<tr><td><td>b<td></table>", "a |  | c\n | b |"),
    "two paragraphs in a cell": ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb | c"),
    "a stray cell": ("a<td>b", "a b"),
    "pre stays": (
        "x<pre>\n\n def f():\n\treturn  1 \n\n<b>y</b> - \n</pre>z",
        "x\n\n\n def f():\n\treturn  1 \n\ny - \n\nz",
    ),
    "a line break in pre": ("<pre>a<br>b</pre>", "a\nb"),
    "images' alt": ("see <img src=x alt='a  cat'> and <img src=y alt=''><img src=z>", "see a cat and"),
    "definition lists": ("<dl><dt>a</dt><dd>b</dd></dl>", "a\nb"),
    "end tags without a beginning": ("</ul></table></pre></p>x</script>y", "xy"),
    "plain text": ("just\ntext", "just text"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("html", "text"), CASES.values(), ids=CASES.keys())
def test_cases(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_many_open_tags_take_linear_time() -> None:
    started = time.monotonic()
    assert html_to_text("<div><ul><li>" * 20_000 + "x").endswith("x")
    assert time.monotonic() - started < 10
