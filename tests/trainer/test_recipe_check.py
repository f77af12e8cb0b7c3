"""What is wrong with a recipe is said before any footage is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bundles import write_projection

from engines.errors import ConfigError, DataError, InputMissingError
from trainer.preset import load_preset
from trainer.recipe_check import check_recipe

PICTURES = "streams.appearance.encoder=onnx"


@pytest.mark.parametrize("name", ["mnad", "mnad-paper", "mulde", "paper", "top-heavy"])
def test_shipped_recipes_pass(name: str) -> None:
    check_recipe(load_preset(name))


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("mnad", "mnad.variant=reconstruction", "sees one frame, not 5"),
        ("top-heavy", "streams.clip.options.frames=7", "even number of frames"),
        ("top-heavy", "streams.clip.options.grey=false", "grey"),
        ("mulde", PICTURES, "no file is named"),
    ],
)
def test_numbers_that_do_not_fit_are_told_with_their_mend(
    name: str, setting: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        check_recipe(load_preset(name, [setting]))
    assert error.value.mend


def test_an_extractor_must_be_there_and_take_the_items(tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"

    def check(patch: int) -> None:
        settings = [PICTURES, f"extractor.file={own}", f"streams.appearance.patch={patch}"]
        check_recipe(load_preset("mulde", settings))

    with pytest.raises(InputMissingError):
        check(28)
    write_projection(own, seed=0)
    check(28)
    with pytest.raises(DataError, match=r"3, 28, 28.*3, 96, 96"):
        check(96)
