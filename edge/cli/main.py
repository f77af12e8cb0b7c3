"""The `vigil` command: finds subcommands by entry point, turns errors into three lines and a code.

Subcommands of the workstation live in `trainer`; they are found through the entry-point group
``vigil.commands``, so that this room need not import them, and a device without the training extra
still has its own commands.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, NoReturn

import click

from edge.log import configure_logging
from engines.errors import UnavailableError, UsageError, VigilError

GROUP = "vigil.commands"
INTERRUPTED = 130
# Order of the help page: the order in which one uses them.
ORDER = (
    "demo",
    "train",
    "evaluate",
    "calibrate",
    "keys",
    "bundle",
    "wheelhouse",
    "provision",
    "flash",
    "rollback",
    "status",
    "engine",
    "run",
    "watch",
    "doctor",
    "commission",
    "bench",
    "ha",
    "ablate",
    "compare",
    "survey",
    "device",
)


class EntryPointGroup(click.Group):
    """A click group whose commands are entry points, imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use, unknown ones last."""
        del ctx
        names = {entry.name for entry in entry_points(group=GROUP)}
        return [n for n in ORDER if n in names] + sorted(names - set(ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        for entry in entry_points(group=GROUP):
            if entry.name == cmd_name:
                return _load(entry)
        return None


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        return _missing(entry.name, error.name or "a package")
    if not isinstance(command, click.Command):
        raise TypeError(f"entry point {entry.name} is no click command")
    return command


def _missing(name: str, module: str) -> click.Command:
    """A command that is known but cannot be imported here: listed, and says what to install."""

    @click.command(
        name,
        short_help=f"(needs the package {module}, not installed)",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
    @click.argument("arguments", nargs=-1)
    def command(arguments: tuple[str, ...]) -> None:
        del arguments
        raise UnavailableError(
            f"`vigil {name}` needs the Python package {module}, which is not installed",
            where=sys.executable,
            mend="install the workstation part: pip install 'vigil[train]'",
        )

    return command


@click.group(
    cls=EntryPointGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 64 wrong use, 65 bad data, 66 input missing, 69 something needed "
    "is not there, 70 internal error, 73 cannot write, 75 try again later, 77 refused, 78 wrong "
    "configuration.",
)
@click.version_option(version("vigil"), "-V", "--version", package_name="vigil")
def vigil() -> None:
    """Learn what is normal in front of a fixed camera; be told when something is not.

    A workstation learns from ordinary footage, without labels, and writes a bundle (train,
    evaluate, calibrate). A device runs the bundle on cameras and publishes anomaly events over
    MQTT (run, watch); doctor tests it and commission learns on site. Start with `vigil demo`.
    """


def report(error: VigilError) -> None:
    """Print an error for a person: what, where, what mends it; on standard error."""
    click.echo(f"vigil: {error.what}", err=True)
    if error.where:
        click.echo(f"  where: {error.where}", err=True)
    if error.mend:
        click.echo(f"  mend:  {error.mend}", err=True)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; the console script and `python -m` entry."""
    _one_thread_for_arrays()
    configure_logging()
    sys.exit(_run(arguments))


def _one_thread_for_arrays() -> None:
    """Keep OpenBLAS (NumPy's) and OpenCV to one thread; to be called before they are imported.

    Their threads wait for the next call by spinning. The calls here are small and come at each
    frame, beside the networks, which have threads of their own: on two cores the waiting took half
    of the processor time. What the user has set stays, and so does ``--threads`` of a command.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = vigil.main(args=arguments, prog_name="vigil", standalone_mode=False)
    except VigilError as error:
        report(error)
        return error.exit_code
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("vigil: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said on that stream.
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
