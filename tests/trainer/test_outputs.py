"""Where figures go: a file each, or one form alone on standard output, whichever form it is."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edge.cli.main import _run
from engines.errors import UsageError
from trainer.cli.ablate import ablate
from trainer.cli.compare import compare
from trainer.cli.outputs import Outputs, output_options
from trainer.cli.survey import survey

FORMS = ("json", "html", "markdown")
began: list[str] = []


@click.command()
@output_options(*FORMS)
@click.option("--name", default="yard")
def measure(name: str, outputs: Outputs) -> None:
    began.append(name)
    outputs.write(
        lambda console: console.print(f"table of {name}"),
        {form: lambda form=form: f"{form} of {name}\n" for form in FORMS},
    )


@pytest.mark.parametrize("form", FORMS)
def test_any_form_can_have_standard_output_for_itself(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(measure, [f"--{form}", "-"])
    assert result.exit_code == 0
    assert result.stdout == f"{form} of yard\n"
    assert "table of yard" in result.stderr
    assert not list(tmp_path.iterdir())  # in particular no file of the name -


def test_every_form_can_have_a_file(tmp_path: Path) -> None:
    files = {form: tmp_path / "out" / f"f.{form}" for form in FORMS}
    arguments = [text for form in FORMS for text in (f"--{form}", str(files[form]))]
    result = CliRunner().invoke(measure, [*arguments, "--name", "lawn"])
    assert "table of lawn" in result.stdout
    assert {form: file.read_text() for form, file in files.items()} == {
        form: f"{form} of lawn\n" for form in FORMS
    }
    for file in files.values():
        assert str(file) in result.stderr


def test_two_forms_on_standard_output_are_refused_before_anything_is_done() -> None:
    began.clear()
    result = CliRunner().invoke(measure, ["--json", "-", "--markdown", "-"])
    assert isinstance(result.exception, UsageError)
    assert "--json and --markdown cannot both" in result.exception.what
    assert not began


def test_without_a_file_there_is_only_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    Outputs({"json": None}).write(lambda console: console.print("table"), {})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("table\n", "")


@pytest.mark.parametrize("command", [ablate, compare, survey], ids=lambda one: one.name)
def test_the_commands_have_all_three(command: click.Command) -> None:
    asked = {name for option in command.params for name in option.opts}
    assert {f"--{form}" for form in FORMS} <= asked


@pytest.mark.parametrize("option", [["--seed", "-1"], ["--fps", "0"], ["--threads", "-2"]])
def test_numbers_out_of_range_are_wrong_use_and_no_traceback(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", str(tmp_path), "--normal", str(tmp_path), "--int8", *option]
    assert _run(arguments) == UsageError.exit_code
    assert option[0] in capsys.readouterr().err
