"""The one exception whose message is meant for the person who called."""


class UserError(ValueError):
    """Something that the caller can put right: an argument, a file, a folder.

    The message says what was found and what would be accepted. An argument stands in it by its
    name, in backquotes (`` `class_names` has 3 names, expected 10 ``); a command prints its flag
    there, and ends with exit code 2.
    """
