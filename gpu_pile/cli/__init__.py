"""The command line, gpu-pile: the only package that prints. A verb, or a few that belong together, per file."""

from gpu_pile.cli.commands import app, main

__all__ = ["app", "main"]
