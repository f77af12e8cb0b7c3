"""Size, reach and losses of the mixed auto-encoder, against known numbers and plain arithmetic."""

from __future__ import annotations

import pytest
import torch

from trainer.models.top_heavy import Design, Scheme, TimeAutoEncoder, TopHeavy

SIDE = 32


def weights(design: Design, widths: tuple[int, ...] = (64, 64, 64, 64)) -> int:
    return sum(p.numel() for p in TimeAutoEncoder(design, widths).parameters())


def small(scheme: Scheme = "plain", design: Design = "top-heavy", frames: int = 8) -> TopHeavy:
    torch.manual_seed(0)
    model = TopHeavy(frames=frames, design=design, widths=(4, 5, 6, 7), scheme=scheme)
    model.train()
    with torch.no_grad():  # running statistics that are not those of a fresh network
        for _ in range(3):
            model(torch.rand(4, frames, SIDE, SIDE))
    return model.eval()


def test_the_mixed_network_has_57_per_cent_of_the_weights() -> None:
    assert weights("all-3d") == 668_353
    assert weights("top-heavy") == 371_137
    assert weights("all-2d") == 223_681
    assert abs(weights("top-heavy") / weights("all-3d") - 0.57) <= 0.02


def test_so_has_a_narrower_one() -> None:
    widths = (32, 32, 32, 32)
    assert abs(weights("top-heavy", widths) / weights("all-3d", widths) - 0.57) <= 0.02


@pytest.mark.parametrize("design", ["top-heavy", "all-3d", "all-2d"])
def test_a_clip_keeps_its_shape(design: Design) -> None:
    clips = torch.rand(2, 8, SIDE, SIDE)
    assert small(design=design).spatial(clips).shape == clips.shape


@pytest.mark.parametrize(("design", "reach"), [("top-heavy", 3), ("all-3d", 10), ("all-2d", 2)])
def test_the_newest_frames_are_rebuilt_from_the_last_ones_alone(design: Design, reach: int) -> None:
    model = small(design=design, frames=16)
    clips = torch.rand(2, 16, SIDE, SIDE)
    whole = model.spatial(clips)[:, -2:]
    assert model.spatial.reach(16) == reach
    torch.testing.assert_close(model.spatial.newest(clips, 16), whole, atol=1e-5, rtol=1e-4)
    older = clips.clone()
    older[:, :-reach] = 0.0
    assert torch.equal(model.spatial.newest(clips, 16), model.spatial.newest(older, 16))
    changed = clips.clone()
    changed[:, -reach] = 0.0
    assert not torch.equal(model.spatial(changed)[:, -2:], whole)


def test_only_3d_layers_see_time() -> None:
    clips = torch.rand(1, 8, SIDE, SIDE)
    changed = clips.clone()
    changed[:, 3] = 0.0
    flat, deep = small(design="all-2d").spatial, small().spatial
    moved = [(model(changed) - model(clips)).abs().amax((2, 3))[0] > 0 for model in (flat, deep)]
    assert moved[0].tolist() == [n == 3 for n in range(8)]
    assert moved[1].sum() > 1


def test_losses_are_mean_squares_of_frames_and_of_their_changes() -> None:
    model, clips = small(), torch.rand(3, 8, SIDE, SIDE)
    rebuilt = model.spatial(clips).detach().numpy()
    x = clips.numpy()
    terms = model(clips)
    expected = ((rebuilt - x) ** 2).reshape(3, -1).mean(1)
    torch.testing.assert_close(
        terms.spatial.detach(), torch.from_numpy(expected), rtol=1e-5, atol=0
    )
    change = (rebuilt[:, 1:] - rebuilt[:, :-1]) - (x[:, 1:] - x[:, :-1])
    expected = (change**2).reshape(3, -1).mean(1)
    torch.testing.assert_close(
        terms.temporal.detach(), torch.from_numpy(expected), rtol=1e-5, atol=0
    )


def test_joint_training_has_two_networks_of_the_same_design() -> None:
    model = small("joint")
    assert model.temporal is not None
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.spatial, model.temporal)]
    assert counts[0] == counts[1]
    terms = model(torch.rand(2, 8, SIDE, SIDE))
    terms.temporal.sum().backward()
    assert all(p.grad is None for p in model.spatial.parameters())
    assert all(p.grad is not None for p in model.temporal.parameters())


@pytest.mark.parametrize("scheme", ["plain", "joint"])
def test_score_maps_are_log_errors_of_the_newest_frame_and_its_change(scheme: Scheme) -> None:
    model, clips = small(scheme), torch.rand(2, 8, SIDE, SIDE)
    maps = model.score_maps(clips[:, -model.scored_frames :]).detach()
    assert maps.shape == (2, 2, SIDE // 8, SIDE // 8)
    error = (model.spatial(clips)[:, -1] - clips[:, -1]).detach()
    cells = error.reshape(2, 4, 8, 4, 8).square().mean((2, 4))
    floor = (2.0 / 255.0) ** 2
    torch.testing.assert_close(maps[:, 0], torch.log(256.0 * (cells + floor)), atol=1e-4, rtol=1e-4)
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("scheme", ["plain", "joint"])
def test_scores_depend_on_the_frames_that_are_named(scheme: Scheme) -> None:
    model, clips = small(scheme), torch.rand(1, 8, SIDE, SIDE)
    used = model.scored_frames
    assert used == (3 if scheme == "plain" else 4)
    torch.testing.assert_close(
        model.score_maps(clips[:, -used:]), model.score_maps(clips), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("frames", [3, 7, 2])
def test_a_clip_of_an_odd_number_of_frames_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match="even number"):
        TopHeavy(frames=frames)
