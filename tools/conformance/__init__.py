"""The server under the tools that others test servers with."""
