"""The exceptions that end a command, and the nearest names that such an error offers."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable

# What a file system refuses, whatever the program does: full, read-only, not permitted, bad names.
REFUSED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


class RunError(Exception):
    """A run cannot go on. The message is one line: the values seen, what to do."""

    status = 1


class InputError(RunError):
    """What the user gave cannot be used."""

    status = 2


class Diverged(InputError):
    """The loss or a weight is not finite: resuming with the same settings would not help."""


class Interrupted(RunError):
    """A run was asked to stop and has saved its state: the same command resumes it."""

    status = 75  # EX_TEMPFAIL of sysexits.h: try again later. A cluster's script requeues on it.


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest names that do.

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
    """Runs a command; an error of ours becomes one line on standard error and its exit status."""
    try:
        run()
    except RunError as error:
        # a loader's worker wraps the message in its own traceback: the last line has ours
        kind = f"{type(error).__module__}.{type(error).__qualname__}: "
        message = str(error).strip().splitlines()[-1].removeprefix(kind)
        print(f"trickbench: {message}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        return 0  # the reader, head for one, has seen enough
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        print(f"trickbench: {error}; earlier checkpoints are intact", file=sys.stderr)
        return 2
    return 0
