"""What a stage does to which weights, and what each epoch writes down."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_stream import SCALE, SIDE, tiny_preset, train_tiny, write_stores

from engines.errors import InternalError
from trainer.checkpoint import TrainingState
from trainer.diagnostics import HeldOut, examine, fixed_noise, to_unit_range
from trainer.distributed import single
from trainer.freeze import add_coordinate, freeze_mixture, responsibilities
from trainer.gmfc_learning import GmfcLearning
from trainer.models.gmfc_vae import GmfcVae
from trainer.models.mixture_prior import MixturePrior
from trainer.objectives import adam, choose_precision
from trainer.patch_store import PatchStore, decode_patches
from trainer.preset import Preset
from trainer.progress import SilentTraining
from trainer.train_stream import TrainedStream, build_model
from trainer.training_loop import HISTORY_NAME, StreamTask, run_stage


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    write_stores(folder, count=800)
    return folder


@pytest.fixture(scope="module")
def trained(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedStream:
    result = train_tiny(stores, tmp_path_factory.mktemp("run"))
    assert result is not None
    return result


def make_task(stores: Path, folder: Path, preset: Preset) -> StreamTask[GmfcVae]:
    ranks = single("cpu")
    return StreamTask(
        name="motion",
        model=build_model(preset, preset.streams[0], components=3, seed=0, ranks=ranks),
        learning=GmfcLearning(),
        fit=PatchStore(stores / "fit"),
        held_out=PatchStore(stores / "held_out"),
        settings=preset.training,
        seed=0,
        folder=folder,
        ranks=ranks,
        progress=SilentTraining(),
    )


def test_the_mixture_finds_the_three_kinds_of_patches(trained: TrainedStream) -> None:
    last = trained.history[-1]["held_out"]
    assert 2.5 < last["effective_components"] <= 3.0
    assert last["gamma_entropy"] < 0.1
    assert trained.history[-1]["warnings"] == []


def test_energy_tells_a_strange_patch_from_a_known_one(
    trained: TrainedStream, stores: Path
) -> None:
    with PatchStore(stores / "held_out") as store:
        known = torch.from_numpy(decode_patches(store.read(np.arange(100))))
    strange = known.clone()
    strange[:, :, :4, :4] = 1.0
    with torch.no_grad():
        energies = [trained.model.prior.energy(trained.model.encoder(x)) for x in (known, strange)]
    assert energies[1].median() > energies[0].quantile(0.99)


def test_every_epoch_writes_losses_and_collapse_diagnostics(trained: TrainedStream) -> None:
    lines = (trained.parts.learned.network.parent / HISTORY_NAME).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["stage"] for r in records] == ["pretrain"] * 3 + ["mixture"] + ["joint"] * 3
    for record in records:
        if record["stage"] == "mixture":
            continue
        assert len(record["curve"]) == 40
        assert set(record["held_out"]) == set(HeldOut.__dataclass_fields__)
        assert record["gradient_norm"] > 0
        assert isinstance(record["warnings"], list)
    errors = [r["held_out"]["squared_error"] for r in records if r["stage"] == "pretrain"]
    assert errors == sorted(errors, reverse=True)
    joint = [r["held_out"]["loss"] for r in records if r["stage"] == "joint"]
    assert joint[-1] < joint[0]


def test_stream_parts_are_what_the_runtime_needs(trained: TrainedStream) -> None:
    parts, learned = trained.parts, trained.parts.learned
    assert learned is not None
    assert parts.input.stride == 28
    assert parts.input.options["scale"] == SCALE
    assert learned.parity_patches.shape == (64, 3, SIDE, SIDE)
    assert learned.parity_patches.dtype == learned.parity_latents.dtype == np.float32
    assert learned.arrays["weights"].sum() == pytest.approx(1.0)
    with torch.no_grad():
        latent = trained.model.encoder(torch.from_numpy(learned.parity_patches)).numpy()
    np.testing.assert_allclose(latent, learned.parity_latents, atol=1e-5)
    assert trained.max_error < 1e-4


def test_pretraining_leaves_the_prior_and_the_variance_head_alone(
    stores: Path, tmp_path: Path
) -> None:
    task = make_task(stores, tmp_path, tiny_preset())
    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    run_stage(task, "pretrain", task.settings.pretrain, TrainingState(components=3))
    after = task.model.state_dict()
    for name, value in before.items():
        untouched = name.startswith("prior") or "log_variance" in name or name == "sigma_x2"
        assert torch.equal(after[name], value) is untouched, name


def test_weight_decay_reaches_convolution_weights_only() -> None:
    model = GmfcVae(filters=(2, 2, 2, 2), latent=2, components=2, patch=8)
    groups = adam(model, tiny_preset().training).param_groups
    decayed = {id(p) for p in groups[0]["params"]}
    assert groups[0]["weight_decay"] == 5e-4
    assert groups[1]["weight_decay"] == 0.0
    assert groups[0]["betas"] == (0.9, 0.999)
    for name, parameter in model.named_parameters():
        is_convolution = name.endswith("weight") and not name.startswith("prior")
        assert (id(parameter) in decayed) is is_convolution, name
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_the_kl_part_rises_over_its_share_of_the_joint_steps(stores: Path, tmp_path: Path) -> None:
    preset = tiny_preset(joint={"epochs": 4, "patience": 4}, kl_warm_up=0.5)
    task = make_task(stores, tmp_path, preset)
    state = TrainingState(stage="joint", components=3)
    run_stage(task, "joint", task.settings.joint, state)
    assert [r["kl_weight"] for r in state.history] == [0.5, 1.0, 1.0, 1.0]


def test_a_stage_ends_early_and_keeps_its_best_weights(stores: Path, tmp_path: Path) -> None:
    """A learning rate far too high: held-out error rises, the best epoch's weights come back."""
    preset = tiny_preset(learning_rate=0.5, pretrain={"epochs": 30, "patience": 2})
    task = make_task(stores, tmp_path, preset)
    state = TrainingState(components=3)
    run_stage(task, "pretrain", task.settings.pretrain, state)
    assert len(state.history) < 30
    assert state.stale == 2
    held = examine(task.model, task.held_out, limit=200, seed=0, ranks=task.ranks)
    errors = [r["held_out"]["squared_error"] for r in state.history]
    assert held.squared_error == pytest.approx(min(errors), rel=1e-6)


@pytest.mark.parametrize("value", [0.5, 0.01])
def test_pixel_variance_is_a_setting(stores: Path, tmp_path: Path, value: float) -> None:
    preset = tiny_preset(pretrain={"epochs": 1}, joint={"epochs": 1})
    net = preset.model.model_copy(update={"sigma_x2": value})
    result = train_tiny(stores, tmp_path, preset=preset.model_copy(update={"model": net}))
    assert result is not None
    assert result.sigma_x2 == pytest.approx(value)


def test_residual_pixel_variance_is_the_held_out_squared_error(trained: TrainedStream) -> None:
    pretrained = [r for r in trained.history if r["stage"] == "pretrain"]
    best = min(r["held_out"]["squared_error"] for r in pretrained)
    assert trained.sigma_x2 == pytest.approx(best, rel=1e-4)


def test_a_loss_that_is_no_number_stops_with_the_step(stores: Path, tmp_path: Path) -> None:
    task = make_task(stores, tmp_path, tiny_preset())
    with torch.no_grad():
        task.model.encoder.mean.bias.fill_(math.nan)
    with pytest.raises(InternalError, match="from step 1 of epoch 1"):
        run_stage(task, "pretrain", task.settings.pretrain, TrainingState(components=3))


def test_bfloat16_trains_to_nearly_the_same_error(stores: Path, tmp_path: Path) -> None:
    errors = []
    for precision in ("float32", "bfloat16"):
        preset = tiny_preset(precision=precision, pretrain={"epochs": 2})
        task = make_task(stores, tmp_path / precision, preset)
        state = TrainingState(components=3)
        run_stage(task, "pretrain", task.settings.pretrain, state)
        errors.append(state.history[-1]["held_out"]["squared_error"])
        assert next(task.model.parameters()).dtype == torch.float32
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


def test_a_cpu_keeps_float32_unless_told() -> None:
    assert choose_precision("auto", torch.device("cpu")).dtype is None
    assert choose_precision("bfloat16", torch.device("cpu")).dtype == torch.bfloat16
    assert not choose_precision("auto", torch.device("cpu")).scales_loss


def test_collapsed_mixtures_are_called_by_name() -> None:
    healthy = HeldOut(
        loss=0.0,
        reconstruction=0.0,
        kl=0.0,
        squared_error=0.0,
        effective_components=15.0,
        gamma_entropy=0.5,
        active_units=40,
        smallest_log_variance=-3.0,
        at_floor=0,
        energy_mean=0.0,
        energy_min=0.0,
    )
    fields = vars(healthy)
    assert healthy.warnings(20, joint=True) == []
    one = HeldOut(**{**fields, "effective_components": 1.01})
    assert "one component holds nearly all" in one.warnings(20, joint=True)[0]
    assert one.warnings(20, joint=False) == []
    assert one.warnings(1, joint=True) == []
    uniform = HeldOut(**{**fields, "gamma_entropy": math.log(20)})
    assert "uniform" in uniform.warnings(20, joint=True)[0]
    dead = HeldOut(**{**fields, "active_units": 0})
    assert "0 latent dimension" in dead.warnings(20, joint=False)[0]


def test_diagnostics_of_a_known_mixture(stores: Path) -> None:
    """gamma uniform over K = 3 equal components; a latent vector that never varies."""
    preset = tiny_preset()
    model = build_model(preset, preset.streams[0], components=3, seed=0, ranks=single("cpu"))
    with torch.no_grad():
        model.encoder.mean.weight.zero_()
        model.encoder.mean.bias.fill_(1.0)
    with PatchStore(stores / "held_out") as store:
        held = examine(model, store, limit=50, seed=0, ranks=single("cpu"))
    assert held.effective_components == pytest.approx(3.0)
    assert held.gamma_entropy == pytest.approx(math.log(3.0), rel=1e-5)
    assert held.active_units == 0
    expected = 0.5 * 4 * (math.log(2 * math.pi) + 1.0)
    assert held.energy_mean == pytest.approx(expected, rel=1e-5)
    assert held.energy_min == pytest.approx(expected, rel=1e-5)
    assert held.at_floor == 0


def test_pruning_drops_what_holds_nothing_and_renormalises() -> None:
    prior = MixturePrior(3, 2)
    with torch.no_grad():
        prior.means.copy_(torch.tensor([[0.0, 0], [5.0, 0], [0.0, 500]]))
        prior.logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    z[200:, 0] += 5.0
    gamma = responsibilities(prior, z)
    np.testing.assert_allclose(gamma.sum(1), 1.0)
    arrays, kept = freeze_mixture(prior, gamma, prune=20.0)
    assert kept.tolist() == [0, 1]
    np.testing.assert_allclose(arrays["weights"], [0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(arrays["means"], [[0, 0], [5, 0]])
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float64)}
    assert len(freeze_mixture(prior, gamma, prune=0.0)[1]) == 3
    # However much is asked for, a mixture is left: two components share what there is.
    assert freeze_mixture(prior, gamma, prune=0.4)[1].size == 1


def test_one_more_coordinate_is_that_of_each_components_patches() -> None:
    rng = np.random.default_rng(0)
    own = np.arange(400) % 2
    gamma = np.eye(2)[own]
    values = np.where(own, 3.0, -1.0) + rng.normal(0, np.where(own, 0.5, 0.1))
    head = {
        "weights": np.array([0.4, 0.6]),
        "means": np.zeros((2, 3)),
        "variances": np.ones((2, 3)),
    }
    longer = add_coordinate(head, gamma, values)
    assert longer["means"].shape == longer["variances"].shape == (2, 4)
    for component in (0, 1):
        group = values[own == component]
        assert longer["means"][component, 3] == pytest.approx(group.mean())
        floor = 0.01 * values.var()
        assert longer["variances"][component, 3] == pytest.approx(max(group.var(), floor))
    np.testing.assert_array_equal(longer["weights"], head["weights"])
    # With prune 0 a component that holds no patch at all stays: it must not become NaN.
    third = {name: np.concatenate([a, a[:1]]) for name, a in head.items()}
    more = add_coordinate(third, np.column_stack([gamma, np.zeros(400)]), values)
    np.testing.assert_array_equal(more["means"][:2], longer["means"])
    np.testing.assert_array_equal(more["variances"][:2], longer["variances"])
    assert more["means"][2, 3] == pytest.approx(values.mean())
    assert more["variances"][2, 3] == pytest.approx(values.var())


def test_noise_depends_on_the_key_alone() -> None:
    first = fixed_noise((3, 4), 1, 2, 3)
    torch.manual_seed(99)
    assert torch.equal(fixed_noise((3, 4), 1, 2, 3), first)
    others = [fixed_noise((3, 4), *key) for key in ((1, 3, 2), (1, 2, 4), (0, 2, 3), (1, 2))]
    assert not any(torch.equal(other, first) for other in others)
    many = torch.stack([fixed_noise((50, 4), 7, step) for step in range(100)])
    assert abs(float(many.mean())) < 0.03
    assert abs(float(many.std()) - 1.0) < 0.03


def test_a_batch_becomes_floats_in_the_memory_order_of_the_convolutions() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    x = to_unit_range(torch.from_numpy(patches), torch.device("cpu"))
    assert x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(x.numpy(), decode_patches(patches))
