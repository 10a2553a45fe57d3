"""The command line: one file a verb; each reads flags, calls one function and prints.

`main` finds the verb in `verbs.VERBS`, imports its module and no other, and turns every failure into an exit code.
"""

from charloom.cli.run import main

__all__ = ["main"]
