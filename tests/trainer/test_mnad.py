"""Size, losses and score maps of MNAD against known numbers and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.models.mnad import DOWN, Mnad, Variant

SIDE = 32


def small(variant: Variant = "prediction", channels: int = 1) -> Mnad:
    torch.manual_seed(0)
    frames = 4 if variant == "prediction" else 1
    model = Mnad(variant=variant, frames=frames, channels=channels, widths=(4, 6, 8, 10), items=3)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, frames * channels, SIDE, SIDE))
    return model.eval()


def millions(variant: Variant) -> float:
    model = Mnad(variant=variant, frames=4 if variant == "prediction" else 1)
    return sum(p.numel() for p in model.parameters()) / 1e6


def test_the_papers_sizes() -> None:
    assert millions("prediction") == pytest.approx(15.65, abs=0.01)
    assert millions("reconstruction") == pytest.approx(17.2, abs=0.05)


@pytest.mark.parametrize(("variant", "channels"), [("prediction", 3), ("reconstruction", 1)])
def test_frames_and_queries_have_their_shapes(variant: Variant, channels: int) -> None:
    model = small(variant, channels)
    clips = torch.rand(2, model.clip_frames * channels, SIDE, 2 * SIDE)
    seen, target = model.split(clips)
    frame, queries, _ = model(seen)
    assert frame.shape == target.shape == (2, channels, SIDE, 2 * SIDE)
    assert queries.shape == (2, 10, SIDE // 8, 2 * SIDE // 8)
    assert frame.abs().max() <= 1.0
    torch.testing.assert_close(queries.norm(dim=1), torch.ones(2, SIDE // 8, 2 * SIDE // 8))


def test_the_prediction_does_not_see_its_target_and_the_reconstruction_sees_nothing_else() -> None:
    model = small()
    clips = torch.rand(1, 5, SIDE, SIDE)
    other = clips.clone()
    other[:, 4] = 0.0
    assert torch.equal(model(model.split(clips)[0])[0], model(model.split(other)[0])[0])
    seen, target = small("reconstruction").split(torch.rand(1, 1, SIDE, SIDE))
    assert torch.equal(seen, target)


def test_without_skips_everything_passes_the_memory() -> None:
    """Queries replaced by a constant: a reconstruction then knows nothing of its picture."""
    for variant, sees in (("prediction", True), ("reconstruction", False)):
        model = small(variant)
        a, b = (torch.rand(1, model.inputs, SIDE, SIDE) for _ in range(2))
        constant = torch.ones(1, 10, SIDE // 8, SIDE // 8)
        frames = [model.decode(constant, constant, model.encode(x)[1]) for x in (a, b)]
        assert torch.equal(*frames) is not sees, variant


def test_losses_are_those_of_the_definition() -> None:
    model = small()
    clips = torch.rand(3, 5, SIDE, SIDE)
    with torch.no_grad():
        frame, queries, recall = model(clips[:, :4] * 2 - 1)
        terms = model.terms(clips)
    error = (frame.numpy() - (clips[:, 4:].numpy() * 2 - 1)) ** 2
    np.testing.assert_allclose(terms.pixel, error.reshape(3, -1).mean(1), rtol=1e-5)
    items = model.memory.items.numpy()
    flat = queries.permute(0, 2, 3, 1).reshape(3, -1, 10).numpy()
    squared = np.sort(((flat[:, :, None] - items) ** 2).sum(3), axis=2)
    np.testing.assert_allclose(terms.compact, squared[:, :, 0].mean(1) / 10, rtol=1e-3)
    margin = np.sqrt(squared[:, :, 0]) - np.sqrt(squared[:, :, 1]) + 1.0
    np.testing.assert_allclose(terms.separate, np.maximum(margin, 0).mean(1), rtol=1e-3)
    assert torch.equal(terms.queries, queries)
    assert recall.nearest.shape == (3, SIDE // 8, SIDE // 8)


def test_score_maps_are_log_error_and_distance_of_each_cell() -> None:
    model = small()
    clips = torch.rand(2, 5, SIDE, SIDE)
    with torch.no_grad():
        maps = model.score_maps(clips)
        frame, _, recall = model(clips[:, :4] * 2 - 1)
    error = (frame - (clips[:, 4:] * 2 - 1)).reshape(2, 4, DOWN, 4, DOWN)
    floor = (2.0 / 255.0) ** 2
    expected = torch.log(256.0 * (error.square().mean((2, 4)) + floor))
    torch.testing.assert_close(maps[:, 0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps[:, 1], recall.nearest, atol=1e-5, rtol=1e-4)


def test_a_strange_place_stands_out_where_it_is() -> None:
    model = small()
    clips = torch.full((1, 5, SIDE, SIDE), 0.5)
    clips[:, 4, 8:16, 24:32] = 1.0
    with torch.no_grad():
        error = model.score_maps(clips)[0, 0]
    assert int(error.argmax()) == 1 * 4 + 3


def test_a_reconstruction_of_several_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="one frame"):
        Mnad(variant="reconstruction", frames=4)
