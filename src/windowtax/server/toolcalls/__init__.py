"""Tools: how a model is told of them, how its answer is held to them, and how calls are read out of it."""
