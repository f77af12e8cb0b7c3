"""Passwords leave no trace in messages: every text about a camera passes through here first.

Hidden are the user and password of a URL (percent-encoded or not, also when the password holds
characters that should have been encoded), and values of query or path parameters whose name speaks
of a login (`?user=x&pwd=y`), as many cameras use them.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(\S*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]@]*)(:\d*)?")
_SECRET_PARAMETER = re.compile(
    r"(?i)(?<![A-Za-z])((?:user|usr|login|auth|pass|pwd|psw|token|secret|key|sig)[\w-]*=)"
    r"[^&\s/?#;,'\"]*"
)


def redact(text: str) -> str:
    """Hide the credentials of every URL in `text`.

    >>> redact("cannot open rtsp://admin:s%40crt@10.0.0.7:554/ch1?channel=1&pwd=x")
    'cannot open rtsp://***@10.0.0.7:554/ch1?channel=1&pwd=***'
    """
    return _URL.sub(lambda match: match[1] + _without_credentials(match[2]), text)


def redact_address(address: str) -> str:
    """Hide the credentials of one address, which may hold spaces where it should not.

    >>> redact_address("rtsp://admin:pass word@10.0.0.7/ch1")
    'rtsp://***@10.0.0.7/ch1'
    """
    scheme, separator, rest = address.partition("://")
    return scheme + separator + _without_credentials(rest) if separator else address


def redact_known(text: str, url: str) -> str:
    """Hide the credentials of `url` wherever they occur in `text`, encoded, decoded or alone.

    For messages of libraries that take a URL apart before they print it.
    """
    text = text.replace(url, redact_address(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return redact(text)


def _without_credentials(rest: str) -> str:
    """What follows `://`, without user, password and secret parameters."""
    end = _credentials_end(rest)
    if end >= 0:
        rest = f"{MASK}@{rest[end + 1 :]}"
    elif not _HOST.fullmatch(_authority(rest)):  # no host and port: the `@` may have been forgotten
        rest = MASK + rest[len(_authority(rest)) :]
    return _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", rest)


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _credentials_end(rest: str) -> int:
    """Position of the `@` that ends the credentials, -1 if there are none.

    By RFC 3986 it lies before the first of `/?#`, but people write passwords that hold these. So it
    is the last `@` of all, except after a bare host name: hiding too much is the smaller fault.
    """
    authority = _authority(rest)
    bare_host = "@" not in authority and (":" not in authority or authority.startswith("["))
    return -1 if bare_host else rest.rfind("@")


def _secrets(url: str) -> set[str]:
    """User and password of `url`, as written and decoded; short ones would hit by chance."""
    rest = url.partition("://")[2]
    end = _credentials_end(rest)
    if end < 0:
        return set()
    written = {rest[:end], *rest[:end].split(":", 1)}
    return {part for part in written | {unquote(part) for part in written} if len(part) > 2}
