"""The one exception whose message is meant for the person at the command line."""


class UserError(Exception):
    """Something the user can put right; commands print it in one message and exit with 2."""
