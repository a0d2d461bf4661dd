"""The command line: one file per verb."""

from wieldy.cli.main import main

__all__ = ["main"]
