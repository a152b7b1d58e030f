"""Measures the machine anew, as `windowtax bench floor` does: floors and predictions are of the minutes of the run."""

import common

from windowtax.engine.gauge import this_machine

this_machine(again=True)
common.tell()
