"""The installed TensorRT, or TensorRT-RTX: one module drives both.

Both have the same Python interface in all that is used here, from 10.3 on (a test compares every
member that is named in this folder with what 10.3, 10.13, 10.16 and 11.4 offer). They are imported
by name when they are asked for; nothing else in the program needs them.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from engines.errors import UnavailableError, UsageError

TENSORRT: Final = "tensorrt"
TENSORRT_RTX: Final = "tensorrt-rtx"
MODULES: Final = {TENSORRT: "tensorrt", TENSORRT_RTX: "tensorrt_rtx"}
OLDEST: Final = (10, 3)
NEWEST_MAJOR: Final = 11
# More than this is never read, and a broken build can say the same thing for every layer.
_KEPT = 200


@dataclass
class Messages:
    """What the library said at severity warning and worse, oldest first."""

    lines: list[str] = field(default_factory=list)

    def add(self, severity: str, text: str) -> None:
        """One more line."""
        if len(self.lines) < _KEPT:
            self.lines.append(f"{severity}: {text.strip()}")

    def take(self) -> list[str]:
        """All lines so far; the next call starts empty."""
        taken, self.lines = self.lines, []
        return taken

    def reason(self) -> str:
        """Errors so far in one line, else warnings, else that nothing was said; and forget them."""
        lines = self.take()
        errors = [line for line in lines if not line.startswith("warning")]
        return "; ".join((errors or lines)[:3]) or "it gave no reason"


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        trt: The Python module.
        version: Its version as numbers; plans fit this exact version.
        logger: For every object that wants one.
        messages: What that logger has heard.
    """

    name: str
    trt: Any
    version: tuple[int, ...]
    logger: Any
    messages: Messages

    @property
    def version_text(self) -> str:
        """As in ``10.3.0.26``."""
        return ".".join(str(part) for part in self.version)

    @property
    def is_rtx(self) -> bool:
        """TensorRT-RTX, which builds without a GPU too."""
        return self.name == TENSORRT_RTX


# The libraries keep the first logger that they are given for the life of the process.
_opened: dict[str, Library] = {}


def open_library(name: str = TENSORRT) -> Library:
    """Import a library; a second call gives the same object.

    Raises:
        UsageError: No such library.
        UnavailableError: Not installed, not loadable here, or of a version that is not supported.
    """
    if name not in MODULES:
        raise UsageError(
            f"there is no engine library {name!r}", mend=f"choose one of {', '.join(MODULES)}"
        )
    if name not in _opened:
        _opened[name] = library_from_module(name, _import(name))
    return _opened[name]


def library_from_module(name: str, module: ModuleType | Any) -> Library:
    """Check the version and give the module a logger.

    Raises:
        UnavailableError: The version is not supported.
    """
    version = tuple(int(part) for part in re.findall(r"\d+", str(module.__version__))[:4])
    # TensorRT-RTX counts from 1; its interface is that of TensorRT 10.13 and later.
    if name == TENSORRT and not (version[:2] >= OLDEST and version[0] <= NEWEST_MAJOR):
        raise UnavailableError(
            f"TensorRT {module.__version__} is installed, supported are "
            f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}.x",
            mend="use the TensorRT of JetPack 6.1 or newer, or run on the CPU with "
            "--backend onnxruntime-cpu",
        )
    messages = Messages()
    return Library(name, module, version, _logger(module, messages), messages)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the Python package {MODULES[name]} is not installed",
            mend="on a Jetson it comes with JetPack (make the virtual environment with "
            "--system-site-packages); elsewhere: pip install " + name,
        ) from error
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"{MODULES[name]} is installed and cannot be loaded: {error}",
            mend="install the TensorRT libraries that belong to the Python package",
        ) from error


def _logger(trt: Any, messages: Messages) -> Any:
    severities = {
        trt.ILogger.Severity.INTERNAL_ERROR: "internal error",
        trt.ILogger.Severity.ERROR: "error",
        trt.ILogger.Severity.WARNING: "warning",
    }

    class Logger(trt.ILogger):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in severities:
                messages.add(severities[severity], text)

    return Logger()
