"""Techniques that make long context cheaper: what each moves in the equation, and what it is worth."""
