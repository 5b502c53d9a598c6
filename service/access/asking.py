"""The command `isthmus password`: asks for a password and gives the line that knows it."""

import getpass
import sys

from service.access.files import BadLine
from service.access.passwords import line_for

_LONGEST = 1024


def password_line(name: str) -> str | None:
    """The line for `name`, `None` where that or the password is no good, which is said.

    At a terminal the password is asked for twice and not shown; otherwise the first line of what comes in
    is it.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            sys.stderr.write("isthmus: the two are not the same\n")
            return None
    else:
        password = sys.stdin.readline(_LONGEST).rstrip("\r\n")
    try:
        return line_for(name, password)
    except BadLine as error:
        sys.stderr.write(f"isthmus: {error}\n")
        return None
