"""Where the figures of a command go besides the terminal: files, or one to standard output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from engines.atomic import write_text
from engines.errors import UsageError
from trainer.cli.options import Command, Decorator, together

STANDARD_OUTPUT: Final = "-"
# Form -> (its name on the terminal, what it is).
_FORMS: Final = {
    "json": ("figures", "Write the figures"),
    "html": ("page", "Write a page that asks for nothing outside itself"),
    "markdown": ("markdown", "Write Markdown"),
}


class Outputs:
    """What was asked for: a file for each form, "-" for standard output, None for neither.

    Args:
        files: By form: json, html, markdown.

    Raises:
        UsageError: Two forms on standard output, where nobody could take them apart.
    """

    def __init__(self, files: Mapping[str, str | None]) -> None:
        self._files = {form: file for form, file in files.items() if file is not None}
        alone = [f"--{form}" for form, file in self._files.items() if file == STANDARD_OUTPUT]
        if len(alone) > 1:
            raise UsageError(
                f"{' and '.join(alone)} cannot both go to standard output",
                mend="give a file to all but one of them",
            )
        self._to_stdout = bool(alone)

    def write(
        self, table: Callable[[Console], None], texts: Mapping[str, Callable[[], str]]
    ) -> None:
        """Print the table for people, then write what was asked for.

        Args:
            table: Prints on a console: that of standard output, or of standard error where a form
                has the former for itself.
            texts: By form, its text.

        Raises:
            CannotCreateError: A file cannot be written.
        """
        table(Console(stderr=self._to_stdout))
        for form, file in self._files.items():
            text = texts[form]()
            if file == STANDARD_OUTPUT:
                click.echo(text, nl=False)
                continue
            write_text(Path(file), text)
            click.echo(f"{_FORMS[form][0]:<14}{file}", err=True)


def output_options(*forms: str) -> Decorator:
    """The options of these forms, as one parameter `outputs`; checked before the command begins."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**values: Any) -> Any:
            files = {form: values.pop(f"{form}_file") for form in forms}
            return command(**values, outputs=Outputs(files))

        options = (
            click.option(
                f"--{form}",
                f"{form}_file",
                metavar="FILE",
                help=f"{_FORMS[form][1]} to this file; - for standard output.",
            )
            for form in forms
        )
        return together(*options)(gathered)

    return decorate
