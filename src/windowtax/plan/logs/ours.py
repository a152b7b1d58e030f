"""Our own engine's bill: the JSON of `windowtax ask --json` (docs/reference/bill-json.md)."""

import json
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.plan.logs.record import BillLog


def read_bill(text: str) -> BillLog | None:
    """The record of a bill, alone or beside the answer under "bill". None where the text is no JSON object.

    Raises BadInput for JSON that is no bill.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        data = cast("dict[str, Any]", json.loads(text))
    except ValueError as error:
        raise BadInput(f"The JSON cannot be read: {error}", "Give the output of windowtax ask --json, whole.") from None
    bill = cast("dict[str, Any]", data.get("bill", data))
    try:
        tokens, cache = bill["tokens"], bill["cache"]
        return BillLog(
            context_tokens=int(tokens["admitted_context"]),
            num_prompt_tokens=int(tokens["prompt"]),
            num_output_tokens=int(tokens["output"]),
            pool_bytes=int(cache["pool"]["allocated_bytes"]),
            held_bytes=int(cache["held_at_peak"]["measured_bytes"]),
            cache_dtype=str(bill["cache_dtype"]),
            tensor_parallel=1,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"This JSON is no bill: {error!r}.", "Give the output of windowtax ask --json, whole.") from None
