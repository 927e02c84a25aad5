"""The command line: `main` finds the command, one file each holds its options and calls what does the work."""

from safa_stream.cli.main import main

__all__ = ["main"]
