"""`windowtax serve` without fair shares of a step, only to measure what these do: who came first takes all of it."""

import sys
from dataclasses import replace

from windowtax.cli import serving
from windowtax.cli.main import main
from windowtax.engine.engine import Engine

open_engine = serving.open_engine


def _open_without_shares(*given: object) -> tuple[Engine, str]:
    engine, why = open_engine(*given)  # type: ignore[arg-type]
    engine.scheduler.config = replace(engine.scheduler.config, share_prefill=False)
    return engine, why


if __name__ == "__main__":
    serving.open_engine = _open_without_shares
    sys.argv.insert(1, "serve")
    main()
