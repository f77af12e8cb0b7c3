"""Under which names the page may be reached.

A foreign site can let its own name point to this device and then read the page through a visitor's
browser (DNS rebinding). Such a request carries the foreign name in `Host`, so only known names are
answered. Addresses are always good: nobody can make one point elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def own_names() -> set[str]:
    """Names of this machine."""
    name = socket.gethostname().lower()
    return {"localhost", name, f"{name.partition('.')[0]}.local"}


class KnownHosts:
    """The names.

    Args:
        names: Besides this machine's own.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = own_names() | {name.lower() for name in names}

    def knows(self, header: str) -> bool:
        """Whether a `Host` header names this page."""
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match[1].strip("[]").lower().removesuffix(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
