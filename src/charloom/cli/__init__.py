"""The command line: one module per verb; each parses flags, calls one function and prints the result.

`main` imports only the module of the verb it runs (see `verbs.VERBS`) and turns every failure into an exit code.
"""

from charloom.cli.run import entry_point, main

__all__ = ["entry_point", "main"]
