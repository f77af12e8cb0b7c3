"""A camera's login, kept out of its address: from the configuration, files and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from edge.capture.redact import redact_address
from edge.secret_file import credential_file, read_secret
from engines.errors import ConfigError


def address_with_login(
    address: str,
    *,
    camera: str,
    username: str | None = None,
    password_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The address with user and password in it, percent-encoded; for the capture process alone.

    User: configuration, ``VIGIL_CAMERA_<NAME>_USERNAME``. Password: configured file,
    ``VIGIL_CAMERA_<NAME>_PASSWORD_FILE``, ``VIGIL_CAMERA_<NAME>_PASSWORD``, the systemd credential
    ``camera_<name>_password``. `<NAME>` is the camera's name in capitals, `-` written as `_`.

    Args:
        address: As configured; without a scheme (a device, a pipeline) it stays as it is.
        camera: Name of the camera.
        username: As configured.
        password_file: As configured.
        environment: Where the variables are.

    Raises:
        InputMissingError: The password file cannot be read.
        ConfigError: There is a password but no user, or the address holds another login.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme in ("csi", "file"):
        return address
    prefix = f"VIGIL_CAMERA_{camera.upper().replace('-', '_')}"
    user = username or environment.get(f"{prefix}_USERNAME")
    password = _password(camera, prefix, password_file, environment)
    if not user and not password:
        return address
    where = f"camera {camera}, {redact_address(address)}"
    if "@" in rest.partition("/")[0]:
        raise ConfigError(
            "the camera's address holds a login, and there is another one beside it",
            where=where,
            mend="take the login out of the address",
        )
    if not user:
        raise ConfigError(
            "there is a password for the camera but no user name",
            where=where,
            mend=f"set the camera's `username`, or {prefix}_USERNAME",
        )
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{login}@{rest}"


def _password(
    camera: str, prefix: str, configured: Path | None, environment: Mapping[str, str]
) -> str | None:
    named = environment.get(f"{prefix}_PASSWORD_FILE")
    path = configured or (Path(named) if named else None)
    given = environment.get(f"{prefix}_PASSWORD")
    if path is None and given is None:
        path = credential_file(f"camera_{camera}_password", environment)
    return given if path is None else read_secret(path)
