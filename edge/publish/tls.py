"""Files and rules of TLS connections to a broker."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from engines.errors import ConfigError


@dataclass(frozen=True)
class TlsFiles:
    """Files for TLS; the system's authorities are trusted if `ca_file` is None.

    Attributes:
        ca_file: Certificate authority of the broker, PEM.
        certificate: Certificate that the client shows, PEM.
        key: Its key, PEM, without a passphrase; None: it stands in the certificate's file.
        skip_verify: Believe any certificate. Whoever can reach the line can then read along.
    """

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    skip_verify: bool = False

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, host name checked.

        Raises:
            OSError: A file cannot be read or is no certificate (`ssl.SSLError` is an `OSError`).
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            # The library asks at the terminal for a missing passphrase; a daemon has nobody there.
            context.load_cert_chain(self.certificate, self.key, password="")
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def check(self) -> None:
        """Read all files once, so that a mistake is told at the start and not at each attempt.

        Raises:
            ConfigError: A file is missing, unreadable, or not what it should be.
        """
        named = {
            "ca_file": self.ca_file,
            "certificate_file": self.certificate,
            "key_file": self.key,
        }
        for name, path in named.items():
            if path is not None and not _readable(path):
                raise ConfigError(
                    f"mqtt.{name} cannot be read",
                    where=str(path),
                    mend="name a PEM file that the user who runs vigil may read",
                )
        try:
            self.context()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the files for TLS cannot be used: {_reason(error)}",
                where=", ".join(str(path) for path in named.values() if path is not None),
                mend="give PEM files; a key must belong to its certificate and have no passphrase",
            ) from error


def _readable(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError:
        return False
    return True


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
