"""POST /tokenize and /detokenize, as vLLM has them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool

from windowtax.server.call import Call, call_of
from windowtax.server.completions import known_ids
from windowtax.server.conversation import functions, told_tools
from windowtax.server.errors import Json, bad_field
from windowtax.server.fields import Body
from windowtax.server.prompts import chat_text, chat_tokens
from windowtax.server.served import Served, served_of

router = APIRouter()


class TokenizeRequest(Body):
    """A text, or a chat."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool = True
    return_token_strs: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


class DetokenizeRequest(Body):
    """Token ids."""

    model: str | None = None
    tokens: list[int]


@router.post("/tokenize")
async def tokenize(
    body: TokenizeRequest,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> dict[str, Any]:
    """Token ids of a text or a chat, their number, and the window."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    ids = await run_in_threadpool(_ids, served, body)
    found: Json = {"tokens": ids, "count": len(ids), "max_model_len": served.window_tokens}
    if body.return_token_strs:
        found["token_strs"] = [served.tokenizer.token_text(token) for token in ids]
    return found


@router.post("/detokenize")
async def detokenize(
    body: DetokenizeRequest,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> dict[str, Any]:
    """The text of token ids, special ones included."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    ids = known_ids(served, body.tokens, "tokens")
    text = await run_in_threadpool(served.tokenizer.decode, ids, False)
    return {"prompt": text, "content": text}


def _ids(served: Served, body: TokenizeRequest) -> list[int]:
    text = body.prompt if body.prompt is not None else body.content
    if (text is None) == (body.messages is None):
        raise bad_field("prompt", "Give either a prompt (a text) or messages.")
    if text is not None:
        return served.tokenizer.encode(text, add_special_tokens=body.add_special_tokens)
    rendered = chat_text(
        served.tokenizer,
        body.messages or [],
        template=served.settings.chat_template,
        tools=told_tools(functions(body.tools)),
        variables=body.chat_template_kwargs,
        add_generation_prompt=body.add_generation_prompt,
    )
    return chat_tokens(served.tokenizer, rendered)
