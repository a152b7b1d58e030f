"""The HTTP server: OpenAI's and Anthropic's dialects over one engine, a bill on every answer, metrics and a ledger."""
