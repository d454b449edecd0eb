"""The two ways in which a request can be wrong. A message names the value, the expectation and the remedy."""


class DiffPCError(Exception):
    """A failure the user can mend; shown as one line, without a traceback."""

    exit_code = 1


class UsageError(DiffPCError):
    """The command or call is wrong: an unknown name, an unsupported size, a missing option."""

    exit_code = 2


class InputError(DiffPCError):
    """What was given cannot be used: a broken image, no face, a missing or corrupt weight file."""

    exit_code = 3
