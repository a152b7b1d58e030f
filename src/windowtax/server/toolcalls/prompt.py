"""Tools for models whose template does not know them: told in words, in the format of Hermes and Qwen models."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_TOLD = """\
You may call functions. Their signatures are within <tools></tools>:
<tools>
{tools}
</tools>
To call one, write JSON with its name and its arguments within <tool_call></tool_call>:
<tool_call>
{{"name": "the name", "arguments": {{"argument": "value"}}}}
</tool_call>"""


def with_tools_told(messages: Sequence[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the tools in the system message, and with earlier calls and their results as texts."""
    told = _TOLD.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    made = [_as_text(message) for message in messages]
    if made and made[0]["role"] == "system":
        made[0] = {**made[0], "content": f"{made[0]['content']}\n\n{told}"}
        return made
    return [{"role": "system", "content": told}, *made]


def _as_text(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = [
        json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]}, ensure_ascii=False)
        for call in calls
    ]
    blocks = "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in written)
    return {"role": message["role"], "content": f"{message['content']}\n{blocks}".strip()}
