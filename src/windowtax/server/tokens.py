"""POST /tokenize and /detokenize, as vLLM has them, and what else clients ask of a tokenizer and its template."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from windowtax.server.call import Call, call_of
from windowtax.server.completions import known_ids
from windowtax.server.conversation import functions, told_tools
from windowtax.server.errors import Json, bad_field
from windowtax.server.fields import Body
from windowtax.server.openapi import ChatMessage
from windowtax.server.prompts import chat_text, chat_tokens
from windowtax.server.served import Served, served_of

router = APIRouter()


class ChatFields(Body):
    """How a chat becomes a text."""

    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeRequest(ChatFields):
    """A text, or a chat."""

    prompt: str | None = None
    content: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TemplateRequest(ChatFields):
    """A chat."""

    messages: list[ChatMessage] = Field(min_length=1)


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


@router.post("/apply-template")
async def apply_template(
    body: TemplateRequest,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> dict[str, Any]:
    """The text that the model would read of a chat, as llama-server has it."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    return {"prompt": await run_in_threadpool(_rendered, served, body, body.messages)}


@router.get("/tokenizer_info")
async def tokenizer_info(served: Annotated[Served, Depends(served_of)]) -> dict[str, Any]:
    """What clients need to know of the tokenizer, as vLLM has it: lm-eval asks here and needs no files then."""
    tokenizer = served.tokenizer
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "pad_token": None,
        "chat_template": served.settings.chat_template or tokenizer.chat_template,
        "model_max_length": served.window_tokens,
    }


def _ids(served: Served, body: TokenizeRequest) -> list[int]:
    text = body.prompt if body.prompt is not None else body.content
    if (text is None) == (body.messages is None):
        raise bad_field("prompt", "Give either a prompt (a text) or messages.")
    if text is not None:
        return served.tokenizer.encode(text, add_special_tokens=body.add_special_tokens)
    return chat_tokens(served.tokenizer, _rendered(served, body, body.messages or []))


def _rendered(served: Served, body: ChatFields, messages: list[dict[str, Any]]) -> str:
    return chat_text(
        served.tokenizer,
        served.settings.normalizer.apply(messages)[0],
        template=served.settings.chat_template,
        tools=told_tools(functions(body.tools)),
        variables=body.chat_template_kwargs,
        add_generation_prompt=body.add_generation_prompt,
    )
