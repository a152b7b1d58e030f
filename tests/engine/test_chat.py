"""Chat templates against transformers' renderer."""

from typing import Any

import pytest

from windowtax.base.errors import BadInput
from windowtax.engine.chat import render_chat, render_plain
from windowtax.engine.tokenizer import load_tokenizer
from windowtax.hub import fetch

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place & <its> sky: größer als 20 °C?",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich <b>"}}}

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one question": [{"role": "user", "content": "Hi!  \n\n{{ not a template }} {% raw %} <|im_end|>"}],
    "with system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?\n"}],
    "turns": [
        {"role": "user", "content": "你好 👩‍👩‍👧"},
        {"role": "assistant", "content": "Hello & <welcome>"},
        {"role": "system", "content": "Now in German."},
        {"role": "user", "content": ""},
    ],
    "tools": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"t": 20}'},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "20 °C."},
    ],
}

# Every feature that templates in use ask of the environment.
TEMPLATE = """
{%- if tools %}
    {{- tools | tojson(indent=2) }}
{% endif %}
{%- set ns = namespace(count=0) %}
{{ bos_token if bos_token is defined else "no begin" }}{{ eos_token }}
    {% for message in messages %}
    {% if message.role == "tool" %}
        {% continue %}
    {% elif loop.index > 4 %}
        {% break %}
    {% endif %}
    {% set ns.count = ns.count + 1 %}
{{ loop.index0 }} {{ message["role"] | upper }}: {{ message.content | trim }} {{ message | tojson }}
    {% if message.role == "assistant" %}
        {% generation %}{{ message.content }}{% endgeneration %}

    {% endif %}
{% endfor %}
{{ strftime_now("%Y") }} {{ ns.count }} {{ documents }} {{ extra | default("no extra") }} {{ range(3) | list }}
{%- if add_generation_prompt %}
GO
{% endif %}
"""


def of_transformers(template: str, messages: list[dict[str, Any]], **variables: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(conversations=[messages], chat_template=template, **variables)
    return rendered[0]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("tools", [None, [WEATHER]])
def test_our_template_renders_as_in_transformers(conversation: str, prompt: bool, tools: list[Any] | None) -> None:
    messages = CONVERSATIONS[conversation]
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "extra": {"ä": 1}}
    expected = of_transformers(TEMPLATE, messages, add_generation_prompt=prompt, tools=tools, **tokens)
    assert render_chat(TEMPLATE, messages, add_generation_prompt=prompt, tools=tools, **tokens) == expected
    assert expected.count("USER") >= 1 and ("GO" in expected) == prompt


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-coder-0.5b"])
def test_real_templates_render_as_in_transformers(name: str) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = load_tokenizer(fetch.pull(name))
    assert tokenizer.chat_template is not None
    ends = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, chat_template=tokenizer.chat_template, add_bos_token=False, **ends
    )
    for messages in CONVERSATIONS.values():
        for tools in (None, [WEATHER]):
            for prompt in (True, False):
                options: dict[str, Any] = {"add_generation_prompt": prompt, "tools": tools}
                expected = theirs.apply_chat_template(messages, tokenize=False, **options)
                rendered = render_chat(tokenizer.chat_template, messages, **options, **ends)
                assert rendered == expected
                ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
                assert tokenizer.encode(rendered, add_special_tokens=False) == ids


def test_tokens_that_a_model_lacks_stay_undefined() -> None:
    template = "{{ bos_token is defined }}[{{ eos_token }}]"
    assert render_chat(template, []) == "False[]" == of_transformers(template, [])
    assert render_chat(template, [], bos_token="", eos_token="e") == "True[e]"


def test_the_template_s_own_refusal_reaches_the_caller() -> None:
    template = '{% if messages[0].role != "user" %}{{ raise_exception("Start with user, please") }}{% endif %}'
    with pytest.raises(BadInput, match="Start with user, please"):
        render_chat(template, [{"role": "system", "content": ""}])


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ messages[0].content + 1 }}",
        "{{ messages.append(1) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        "{{ tojson(1) }}",
    ],
)
def test_a_template_that_fails_is_bad_input(template: str) -> None:
    with pytest.raises(BadInput, match="chat template refuses"):
        render_chat(template, [{"role": "user", "content": "a"}])


def test_messages_are_left_as_they_were() -> None:
    messages = [{"role": "user", "content": "a"}]
    render_chat("{{ messages }}", messages)
    assert messages == [{"role": "user", "content": "a"}]


def test_plain_text_for_base_models() -> None:
    assert render_plain([{"role": "user", "content": "Once upon a"}]) == "Once upon a"
    assert (
        render_plain([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
        == "ab"
    )
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "?"},
    ]
    assert render_plain(turns) == "User: Hi\n\nAssistant: Yes\n\nUser: ?\n\nAssistant:"


@pytest.mark.parametrize("content", [None, 3, [], [{"type": "image_url", "image_url": "x"}], [{"type": "text"}]])
def test_plain_text_refuses_what_is_not_text(content: Any) -> None:
    with pytest.raises(BadInput, match="not text"):
        render_plain([{"role": "user", "content": content}])
