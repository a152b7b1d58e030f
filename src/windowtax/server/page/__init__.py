"""The page at /: chat, the block map, the metrics and the planner, offline and without a build step."""
