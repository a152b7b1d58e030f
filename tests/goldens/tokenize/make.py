"""Makes the golden token ids: python tests/goldens/tokenize/make.py MODELS [folder]. See README.md.

MODELS: the folder that holds <name>/*.gguf. The files are written beside this one, or into the folder.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sentencepiece
from gguf import GGUFReader
from prompts import PROMPTS
from sentencepiece import sentencepiece_model_pb2
from transformers import AddedToken, AutoTokenizer, Qwen2Tokenizer
from witness import PlainBpe

DATE = "2026-11-22"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def field(reader: GGUFReader, name: str) -> Any:
    """A value of the metadata."""
    return reader.fields[f"tokenizer.ggml.{name}"].contents()


def differing(ids: dict[str, list[int]], others: dict[str, list[int]]) -> list[str]:
    """The prompts on which two witnesses part."""
    return sorted(name for name in ids if ids[name] != others[name])


def of_transformers(path: Path) -> dict[str, list[int]]:
    """What transformers makes of the GGUF file."""
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    return {name: tokenizer(text)["input_ids"] for name, text in PROMPTS.items()}


def of_plain_python(reader: GGUFReader) -> dict[str, list[int]]:
    """What the plain BPE of witness.py makes of it."""
    tokens, types = field(reader, "tokens"), field(reader, "token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in field(reader, "merges")]
    special = [token for token, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER_DEFINED)]
    plain = PlainBpe(field(reader, "pre"), tokens, merges, special)
    return {name: plain.encode(text) for name, text in PROMPTS.items()}


def of_qwen_class(reader: GGUFReader) -> dict[str, list[int]]:
    """What transformers' own class of the model makes of vocabulary and merges."""
    tokens, types = field(reader, "tokens"), field(reader, "token_type")
    tokenizer = Qwen2Tokenizer(
        vocab={token: token_id for token_id, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ", 1)) for merge in field(reader, "merges")],
    )
    for token, kind in zip(tokens, types, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            tokenizer.add_tokens(AddedToken(token, normalized=False, special=kind == CONTROL))
    return {name: tokenizer(text)["input_ids"] for name, text in PROMPTS.items()}


def processor(pieces: list[tuple[str, float, int]], dummy_prefix: bool) -> Any:
    """SentencePiece itself, with a vocabulary of (piece, score, type)."""
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = dummy_prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    for text, score, kind in pieces:
        piece = model.pieces.add()
        piece.piece, piece.score, piece.type = text, score, kind
    found = sentencepiece.SentencePieceProcessor()
    found.LoadFromSerializedProto(model.SerializeToString())
    return found


def of_sentencepiece(reader: GGUFReader) -> dict[str, list[int]]:
    """What SentencePiece makes of Gemma's pieces, with the begin token before it."""
    tokens = [token if token.strip(" ") else "▁" * len(token) for token in field(reader, "tokens")]
    types = [
        UNKNOWN if token == "<unk>" else kind for token, kind in zip(tokens, field(reader, "token_type"), strict=True)
    ]
    found = processor(list(zip(tokens, field(reader, "scores"), types, strict=True)), dummy_prefix=False)
    return {name: [field(reader, "bos_token_id"), *found.encode(text)] for name, text in PROMPTS.items()}


def llama_like() -> dict[str, Any]:
    """A small vocabulary trained by SentencePiece as Llama 2's was, and what SentencePiece makes of the prompts."""
    texts = {name: text for name, text in PROMPTS.items() if name not in ("special tokens", "chat", "gemma chat")}
    # The other scripts stay out of the training, so that they need fallback bytes.
    seen = ("english", "code", "german", "russian", "url", "markdown", "apostrophes", "whitespace")
    lines = [line for name in seen for line in texts[name].splitlines() if line.strip()]
    folder = Path("/tmp/windowtax-llama-like")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3),
        model_prefix=str(folder),
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(folder.with_suffix(".model").read_bytes())
    pieces = [(piece.piece, piece.score, piece.type) for piece in model.pieces]
    found = processor(pieces, dummy_prefix=True)
    return {
        "witness": f"sentencepiece {version('sentencepiece')}, trained here",
        "date": DATE,
        "pieces": pieces,
        "ids": {name: found.encode(text) for name, text in texts.items()},
    }


def model(path: Path) -> dict[str, Any]:
    """The golden of one model: the witness that is right, and where the others part from it."""
    reader = GGUFReader(str(path))
    by_gguf = of_transformers(path)
    if field(reader, "model") == "llama":
        ids, witness = by_gguf, f"transformers {version('transformers')}, AutoTokenizer with gguf_file"
        others = {f"sentencepiece {version('sentencepiece')}": differing(ids, of_sentencepiece(reader))}
    else:
        ids, witness = of_plain_python(reader), "plain BPE, witness.py"
        others = {f"transformers {version('transformers')}, AutoTokenizer with gguf_file": differing(ids, by_gguf)}
        if field(reader, "pre") == "qwen2":
            others[f"transformers {version('transformers')}, Qwen2Tokenizer"] = differing(ids, of_qwen_class(reader))
    return {"model": path.name, "witness": witness, "date": DATE, "others differ on": others, "ids": ids}


def _rows(value: Any) -> str:
    """JSON with one entry of a table per line, so that a change shows as a change of lines."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()) + "\n }"
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in value) + "\n ]"
    return json.dumps(value)


def main(models: Path, out: Path) -> None:
    """Writes all files."""
    goldens = {path.parent.name: model(path) for path in sorted(models.glob("*/*.gguf"))}
    for name, golden in (goldens | {"llama-like": llama_like()}).items():
        parts = [f" {json.dumps(key)}: {_rows(value)}" for key, value in golden.items()]
        (out / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")
        print(name, golden.get("others differ on", ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
