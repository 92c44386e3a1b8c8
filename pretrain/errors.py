"""The one exception for bad input, and the nearest names that such an error offers."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable


class InputError(Exception):
    """What the user gave cannot be used. The message is one line: the values seen, what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest that do.

    Args:
        kind: what was named, in the singular: "recipe", "option" ...
        name: what the user wrote.
        known: every name that would have been right.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return InputError(f"unknown {kind} {name!r}: {hint}")


def exit_status(run: Callable[[], None]) -> int:
    """Runs a command; bad input becomes one line on standard error and exit status 2."""
    try:
        run()
    except InputError as error:
        # a loader's worker wraps the message in its own traceback: the last line is ours
        print(f"trickbench: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"trickbench: {error}; what was saved before is whole", file=sys.stderr)
        return 2
    return 0
