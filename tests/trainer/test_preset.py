"""Presets: the shipped ones hold the paper's numbers; what is misspelt is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ConfigError
from trainer.preset import load_preset, preset_names


def test_every_shipped_preset_is_valid_and_named_by_its_file() -> None:
    assert {"paper", "demo"} <= set(preset_names())
    for name in preset_names():
        assert load_preset(name).name == name


def test_paper_holds_the_papers_numbers() -> None:
    preset = load_preset("paper")
    assert (preset.frame.width, preset.frame.height) == (420, 280)
    assert preset.model.filters == (64, 128, 256, 64)
    assert (preset.model.latent, preset.model.components) == (64, 20)
    assert (preset.training.batch, preset.training.learning_rate) == (100, 1e-4)
    assert preset.training.weight_decay == 5e-4
    appearance, motion = preset.streams
    for stream in (appearance, motion):
        assert (stream.patch, stream.train_stride, stream.test_stride) == (28, 7, 28)
        assert stream.weight == 0.5
    assert motion.options == {"representation": "ranksvm", "window": 20, "c": 1.0}


def test_paper_is_sized_for_two_cores() -> None:
    """Below 1.2 million patch steps over both streams: a quarter of an hour at 1300 a second."""
    training = load_preset("paper").training
    epochs = training.pretrain.epochs + training.joint.epochs
    assert 2 * training.patches * epochs <= 1_200_000


def test_settings_pass_through_the_same_model() -> None:
    preset = load_preset(
        "paper",
        [
            "training.patches=20000",
            "training.learning_rate=1e-3",
            "model.sigma_x2=0.5",
            "streams.motion.options.window=10",
            "training.patches=30000",
            "seed=7",
            "model.filters=[32, 64, 128, 256]",
        ],
    )
    assert preset.training.patches == 30_000
    assert preset.training.learning_rate == 1e-3
    assert preset.model.sigma_x2 == 0.5
    assert preset.streams[1].options["window"] == 10
    assert preset.streams[0].options == {}
    assert preset.seed == 7
    assert preset.model.filters == (32, 64, 128, 256)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.patchs=3", "training.patchs"),
        ("training.patches", "key=value"),
        ("=3", "key=value"),
        ("training.patches=many", "training.patches"),
        ("training.patches=0", "training.patches"),
        ("streams.sound.weight=1", "no entry 'sound'"),
        ("name.of=x", "cannot be set there"),
        ("name.of.it=x", "holds a value"),
        ("streams.motion.weight=0.7", "sum to 1"),
        ("calibration.held_out=0.8", "tenth"),
        ("frame.height=20", "frame.height"),
        ("model.latent=.nan", "model.latent"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("seed: [", "key=value"),
        ("seed=[", "not YAML"),
    ],
)
def test_what_cannot_be_is_named(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_preset("paper", [setting])
    assert message in str(caught.value)


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("streams: [{name: motion, kind: motion, weight: 1.0}]\n", encoding="utf-8")
    assert load_preset(str(path)).name == "mine"
    path.write_text("- a list\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="mapping"):
        load_preset(str(path))


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        load_preset("papr")
    assert "paper" in str(caught.value.mend)


def test_the_resolved_preset_reads_back_as_itself(tmp_path: Path) -> None:
    preset = load_preset("demo", ["features.frames=123"]).with_footage_rate(25.0)
    path = tmp_path / "preset.yaml"
    path.write_text(preset.to_yaml(), encoding="utf-8")
    assert load_preset(str(path)) == preset


def test_the_frame_rate_is_the_footages_unless_stated() -> None:
    assert load_preset("paper").with_footage_rate(25.0).frame.fps == 25.0
    stated = load_preset("paper", ["frame.fps=12.5"])
    assert stated.with_footage_rate(25.0).frame.fps == 12.5


def test_what_depends_on_the_scene_and_is_not_stated_has_to_be_measured() -> None:
    appearance, motion = load_preset("paper").streams
    assert not appearance.unmeasured
    assert motion.unmeasured == {"scale"}
    assert motion.test_input({"scale": 3.0}).options["scale"] == 3.0
    assert motion.train_input({"scale": 3.0}).stride == 7
    assert appearance.test_input().options == {}
    given = load_preset("paper", ["streams.motion.options.scale=2.5"]).streams[1]
    assert not given.unmeasured
    assert given.test_input({"scale": 3.0}).options["scale"] == 2.5
    window = load_preset("accurate").streams[0]
    assert window.unmeasured == {"top", "bottom"}
