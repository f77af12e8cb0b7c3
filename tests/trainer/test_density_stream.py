"""Streams with a log-density network, from footage to a bundle: fused with another kind, INT8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.bundles import open_network, write_projection
from support.clips import MemoryClip
from support.small_networks import SIDE, convolutional

from edge.bench import bench
from edge.pipeline import Pipeline
from edge.scoring.energy import MixtureEnergy
from engines.bundle import load_bundle
from engines.errors import ConfigError, DataError, InputMissingError, UsageError
from engines.qdq_check import build_problems
from trainer import density_stream
from trainer.cli.calibrate import calibrate
from trainer.cli.train import train
from trainer.feature_network import extractor_network, run_network
from trainer.learned_density import head_arrays
from trainer.preset_sections import DensityPreset, ExtractorPreset
from trainer.train_density import TrainedDensity

DENSITY = {"dimensions": 4, "hidden": [24, 24], "levels": 16, "epochs": 15, "batch": 64}
DENSITY |= {"learning_rate": 5e-3}
DENSITY |= {"components": [1, 2]}


def write_clip(folder: Path, clip: MemoryClip) -> None:
    folder.mkdir(parents=True)
    for frame in clip.frames:
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    for number in range(5):
        write_clip(root / "normal" / f"clip{number}", MemoryClip(length=24, seed=number))
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extractor") / "mine.onnx"
    write_projection(path, seed=7)
    return path


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extractor of patches of 8 px, with layers that INT8 can take."""
    path = tmp_path_factory.mktemp("extractor") / "eyes.onnx"
    path.write_bytes(convolutional(seed=3))
    return path


def call(street: Path, out: Path, recipe: dict[str, object], *more: str) -> Result:
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    arguments = ["--dataset", str(street), "--out", str(out), "--preset", str(path)]
    return CliRunner().invoke(train, [*arguments, "--threads", "1", "--device", "cpu", *more])


def recipe(**changes: object) -> dict[str, Any]:
    """Log-density over the user's features, beside GMFC-VAE on motion: two kinds in one bundle."""
    options = {"representation": "mean", "window": 5}
    return {
        "detector": "mulde",
        "frame": {"width": 168, "height": 112},
        "streams": [
            {
                "name": "look",
                "kind": "appearance",
                "encoder": "onnx",
                "head": "log-density",
                "statistics": "picture",
                "patch": SIDE,
            },
            {"name": "motion", "kind": "motion", "options": options},
        ],
        "model": {"filters": [4, 4, 8, 6], "latent": 4, "components": 3},
        "training": {
            "patches": 300,
            "held_out_patches": 100,
            "batch": 20,
            "pretrain": {"epochs": 1},
            "joint": {"epochs": 1},
        },
        "em": {"restarts": 1, "patches": 300},
        "density": DENSITY,
        **changes,
    }


@pytest.fixture(scope="module")
def fused(street: Path, eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = call(street, out, recipe(), "--features", str(eyes), "--detector", "mulde")
    if result.exception is not None:
        raise result.exception
    return out


def test_two_kinds_lie_in_one_bundle_and_both_give_their_part(fused: Path) -> None:
    bundle = load_bundle(fused / "bundle")
    look, motion = bundle.model.streams
    assert (look.head.kind, motion.head.kind) == ("mixture", "mixture")
    assert look.head.file is not None
    assert bundle.arrays(look.head.file)["precision_cholesky"].shape[1:] == (16, 16)
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        peaks = {"look": 0.0, "motion": 0.0}
        for frame in MemoryClip(length=12, seed=40).frames:
            scored = pipeline.score(view, frame)
            assert np.isfinite(scored.score)
            for name, score in scored.streams.items():
                peaks[name] = max(peaks[name], score.peak)
    assert min(peaks.values()) > 0.0


def test_strange_colours_have_a_lower_density(fused: Path) -> None:
    bundle = load_bundle(fused / "bundle")
    usual, strange = MemoryClip(length=12, seed=41), MemoryClip(length=12, seed=41)
    for frame in strange.frames:
        square = (frame.bgr == (200, 220, 240)).all(axis=2)
        frame.bgr[square] = (255, 0, 0)
    with Pipeline(bundle, threads=1) as pipeline:
        energies = []
        for clip in (usual, strange):
            view = pipeline.new_view()
            scores = [pipeline.score(view, frame).streams["look"] for frame in clip.frames]
            found = [one.energy.energy[one.energy.active] for one in scores[2:]]
            energies.append(float(np.concatenate(found).mean()))
    assert energies[1] > energies[0] + 1.0


def test_the_network_is_the_users_features_and_the_density_on_them(fused: Path, eyes: Path) -> None:
    bundle = load_bundle(fused / "bundle")
    items = np.random.default_rng(0).random((4, 3, SIDE, SIDE), dtype=np.float32)
    density = fused / "streams" / "look" / "density_alone.onnx"
    by_hand = open_network(density).infer(open_network(eyes).infer(items))
    network = bundle.model.streams[0].network
    assert network is not None
    whole = open_network(bundle.path(network.files["fp32"])).infer(items)
    np.testing.assert_allclose(whole, by_hand, rtol=1e-3, atol=1e-3)
    assert not build_problems(bundle.path(network.files["fp32"]).read_bytes())


def test_losses_are_on_record(fused: Path) -> None:
    *folds, whole = json.loads((fused / "run.json").read_text())["look_density_losses"]
    assert len(folds) == 4
    for losses in (*folds, whole):
        assert losses[-1][0] < losses[0][0]
    assert {len(epoch) for one in folds for epoch in one} == {2}  # of what is learned, held out
    assert {len(epoch) for epoch in whole} == {1}
    best = [min(range(len(one)), key=lambda at: one[at][1]) + 1 for one in folds]
    assert len(whole) == round(float(np.median(best)))


def test_networks_of_an_earlier_sitting_are_not_learned_again(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []
    whole = density_stream.train_density

    def dies_in_the_third(*arguments: Any, name: str, **more: Any) -> TrainedDensity:
        if name == "speed 3" and len(learned) < 3:
            raise KeyboardInterrupt
        learned.append(name)
        return whole(*arguments, name=name, **more)

    monkeypatch.setattr(density_stream, "train_density", dies_in_the_third)
    speed = {"name": "speed", "kind": "speed", "encoder": "none", "head": "log-density"}
    one = recipe(streams=[{**speed, "statistics": "picture", "weight": 1.0}])
    assert call(street, tmp_path / "out", one).exit_code != 0
    assert learned == ["speed 1", "speed 2"]
    learned.append("")
    assert call(street, tmp_path / "out", one, "--resume").exception is None
    assert learned[3:] == ["speed 3", "speed 4", "speed 5"]
    losses = json.loads((tmp_path / "out" / "run.json").read_text())["speed_density_losses"]
    assert len(losses) == 5


def test_what_the_features_cost_is_on_record(fused: Path) -> None:
    cost = json.loads((fused / "run.json").read_text())["look_ms_per_item"]
    assert 0.0 < cost["features"] < 1000.0
    assert 0.0 < cost["density"] < 1000.0


def test_the_bundle_runs_in_bench(fused: Path, street: Path) -> None:
    report = bench(
        load_bundle(fused / "bundle"), str(street / "normal" / "clip0"), frames=4, threads=1
    )
    assert report.frames == 4
    assert {"look.encode", "motion.encode"} <= set(report.stages_ms)


def test_int8_passes_the_gate_where_levels_are_averaged(
    street: Path, eyes: Path, tmp_path: Path
) -> None:
    # A mixture over the levels is refused here: its covariances are nearly singular, so that what
    # rounding adds is many deviations.
    look = {**recipe()["streams"][0], "weight": 1.0}
    averaged = recipe(streams=[look], density={**DENSITY, "aggregate": "mean"})
    out = tmp_path / "out"
    assert call(street, out, averaged, "--features", str(eyes)).exception is None
    arguments = [str(out / "bundle"), "--footage", str(street), "--int8", "--patches", "120"]
    CliRunner().invoke(
        calibrate, [*arguments, "--threads", "1"], catch_exceptions=False, standalone_mode=False
    )
    bundle = load_bundle(out / "bundle")
    made = bundle.model.streams[0].network
    assert made is not None
    assert set(made.files) == {"fp32", "fp16", "int8"}
    assert not any(build_problems(bundle.path(file).read_bytes()) for file in made.files.values())


def test_radial_units_lie_in_a_bundle_like_any_network(
    street: Path, eyes: Path, tmp_path: Path
) -> None:
    look = {**recipe()["streams"][0], "weight": 1.0}
    density = {"network": "radial", "centres": 30, "dimensions": 0, "scale": "common", "beta": 0.0}
    density |= {"aggregate": "mean", "levels": 4, "epochs": 3, "batch": 64}
    out = tmp_path / "out"
    given = recipe(streams=[look], density=density)
    assert call(street, out, given, "--features", str(eyes)).exception is None
    bundle = load_bundle(out / "bundle")
    made = bundle.model.streams[0].network
    assert made is not None
    items = np.random.default_rng(0).random((8, 3, SIDE, SIDE), dtype=np.float32)
    whole, half = (open_network(bundle.path(made.files[p])).infer(items) for p in ("fp32", "fp16"))
    features = open_network(eyes).infer(items)
    alone = open_network(out / "streams" / "look" / "density_alone.onnx").infer(features)
    np.testing.assert_allclose(whole, alone, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(half, whole, rtol=0.02, atol=0.2)
    assert not any(build_problems(bundle.path(file).read_bytes()) for file in made.files.values())
    energies = {}
    with Pipeline(bundle, threads=1) as pipeline:
        for name in ("usual", "strange"):
            clip = MemoryClip(length=12, seed=41)
            for frame in clip.frames:
                if name == "strange":
                    frame.bgr[(frame.bgr == (200, 220, 240)).all(axis=2)] = (255, 0, 0)
            view = pipeline.new_view()
            scores = [pipeline.score(view, frame).streams["look"] for frame in clip.frames]
            found = [one.energy.energy[one.energy.active] for one in scores[2:]]
            energies[name] = float(np.concatenate(found).mean())
    assert energies["strange"] > energies["usual"] + 1.0


def test_energies_of_a_clip_come_from_a_network_that_does_not_know_it(
    eyes: Path, tmp_path: Path
) -> None:
    strange = (255, 0, 0)
    for number in range(5):
        clip = MemoryClip(length=24, seed=number)
        for frame in clip.frames if number == 2 else ():
            frame.bgr[(frame.bgr == (200, 220, 240)).all(axis=2)] = strange
        write_clip(tmp_path / "street" / "normal" / f"clip{number}", clip)
    out = tmp_path / "out"
    look = {**recipe()["streams"][0], "weight": 1.0}
    given = recipe(
        streams=[look],
        density={**DENSITY, "aggregate": "mean"},
        trust={"per_kind": 1, "seconds": 2},
        # The strange clip shall be learned from; that of the threshold depends on the seed.
        calibration={"held_out": 0.2, "threshold": 0.2},
    )
    result = call(tmp_path / "street", out, given, "--features", str(eyes), "--seed", "1")
    assert result.exception is None
    split = json.loads((out / "run.json").read_text())["split"]
    assert "clip2" in (*split["fit"], *split["held_out"])
    stream = out / "streams" / "look"
    blue = np.zeros((1, 3, SIDE, SIDE), np.float32)
    blue[:] = np.reshape(strange[::-1], (1, 3, 1, 1)) / np.float32(255)  # RGB
    folders = [stream, *sorted(stream.glob("without_*"))]
    energies = [
        float(open_network(folder / "log_density.onnx").infer(blue).mean()) for folder in folders
    ]
    whole, *folds = energies
    # Of four folds one was learned without the strange clip.
    assert sum(energy > whole + 0.5 for energy in folds) == 1
    assert load_bundle(out / "bundle").model.trust is not None


def test_latents_of_our_encoder_can_be_the_features(street: Path, tmp_path: Path) -> None:
    """That encoder has learned the clips of the fit, so the held-out ones give the statistics."""
    look = {"name": "look", "kind": "appearance", "head": "log-density", "weight": 1.0}
    one = recipe(streams=[{**look, "statistics": "picture"}])
    out = tmp_path / "out"
    result = call(street, out, one)
    assert result.exception is None
    record = json.loads((out / "run.json").read_text())
    (losses,) = record["look_density_losses"]  # one network
    assert {len(epoch) for epoch in losses} == {2}
    assert f"statistics: {record['split']['held_out'][0]}" in result.stderr
    bundle = load_bundle(out / "bundle")
    network = bundle.model.streams[0].network
    assert network is not None
    items = np.random.default_rng(0).random((4, 3, 28, 28), dtype=np.float32)
    latents = open_network(out / "streams" / "look" / "encoder.onnx").infer(items)
    assert latents.shape == (4, 4)
    alone = open_network(out / "streams" / "look" / "density_alone.onnx").infer(latents)
    whole = open_network(bundle.path(network.files["fp32"])).infer(items)
    np.testing.assert_allclose(whole, alone, rtol=1e-3, atol=1e-3)


def test_numbers_of_the_input_can_be_the_features(street: Path, tmp_path: Path) -> None:
    speed = {"name": "speed", "kind": "speed", "encoder": "none", "head": "log-density"}
    one = recipe(
        streams=[{**speed, "statistics": "picture", "weight": 1.0}],
        density={**DENSITY, "aggregate": "mean", "levels": 4},
    )
    result = call(street, tmp_path / "out", one)
    assert result.exception is None
    bundle = load_bundle(tmp_path / "out" / "bundle")
    head = bundle.model.streams[0].head
    assert (head.kind, head.options) == ("log-density", {"aggregate": "mean"})
    with Pipeline(bundle, threads=1) as pipeline:
        tops = []
        for pace in (3, 10):
            view = pipeline.new_view()
            clip = MemoryClip(length=14, seed=50, speed=pace)
            tops.append(max(pipeline.score(view, f).streams["speed"].peak for f in clip.frames))
    assert tops[1] > tops[0]


def test_the_head_is_the_mixture_that_held_out_energies_like_best() -> None:
    rng = np.random.default_rng(0)
    far = rng.normal(size=(400, 3)).astype(np.float32)
    far[:200] += 20
    settings = DensityPreset(components=(1, 2))
    arrays = head_arrays(far[::2], far[1::2], settings=settings, seed=0)
    assert len(arrays["weights"]) == 2
    alone = head_arrays(far[:100], far[100:200], settings=settings, seed=0)
    z = MixtureEnergy.from_arrays(alone).energy(far[200:300])
    assert z.min() > MixtureEnergy.from_arrays(alone).energy(far[:100]).max()


def test_pictures_are_normalised_as_the_extractor_wants(extractor: Path) -> None:
    settings = ExtractorPreset(file=str(extractor), mean=(0.5, 0.4, 0.3), std=(0.2,))
    network = extractor_network(settings, shape=(3, 28, 28))
    items = np.random.default_rng(0).random((3, 3, 28, 28), dtype=np.float32)
    given = (items - np.reshape([0.5, 0.4, 0.3], (1, 3, 1, 1)).astype(np.float32)) / 0.2
    wanted = open_network(extractor).infer(given.astype(np.float32))
    np.testing.assert_allclose(run_network(network, items), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"file": "nowhere.onnx"}, InputMissingError),
        ({"mean": (0.1, 0.2)}, DataError),
    ],
)
def test_an_extractor_that_does_not_fit_is_named(
    extractor: Path, change: dict[str, object], error: type[Exception]
) -> None:
    settings = ExtractorPreset.model_validate({"file": str(extractor), **change})
    with pytest.raises(error):
        extractor_network(settings, shape=(3, 28, 28))


def test_an_extractor_for_another_size_is_refused_with_both_sizes(extractor: Path) -> None:
    settings = ExtractorPreset(file=str(extractor))
    with pytest.raises(DataError, match=r"\[0, 3, 28, 28\].*\[3, 32, 32\]"):
        extractor_network(settings, shape=(3, 32, 32))


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError):
        extractor_network(ExtractorPreset(file=str(tmp_path / "no.onnx")), shape=(3, 28, 28))


def test_features_need_a_stream_that_takes_them(street: Path, tmp_path: Path) -> None:
    plain = recipe(streams=[{"name": "speed", "kind": "speed", "encoder": "none", "weight": 1.0}])
    result = call(street, tmp_path / "a", plain, "--features", "some.onnx")
    assert isinstance(result.exception, UsageError)
    result = call(street, tmp_path / "b", recipe())
    assert isinstance(result.exception, ConfigError)
    assert "--features" in str(result.exception.mend)
    result = call(street, tmp_path / "c", recipe(), "--detector", "gmfc-vae")
    assert isinstance(result.exception, UsageError)
