"""The articles' numbers as data: what is claimed, what it comes to here, and whether the two agree.

One TOML file per article; each value is computed by a named formula (formula.py) and judged (judge.py).
"""
