"""The memory against a second implementation, its losses against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.distributed import Ranks
from trainer.models.item_memory import ItemMemory, compactness, separateness, unit_vectors

ITEMS, CHANNELS = 5, 7


def memory_and_queries() -> tuple[ItemMemory, torch.Tensor]:
    torch.manual_seed(0)
    memory = ItemMemory(ITEMS, CHANNELS)
    return memory, unit_vectors(torch.randn(2, CHANNELS, 3, 4))


def rows(queries: torch.Tensor) -> NDArray[np.float64]:
    return queries.permute(0, 2, 3, 1).reshape(-1, CHANNELS).double().numpy()


def placed(items: list[list[float]]) -> ItemMemory:
    memory = ItemMemory(len(items), len(items[0]))
    memory.items.copy_(torch.tensor(items))
    return memory


def test_reading_is_a_softmax_over_the_items() -> None:
    memory, queries = memory_and_queries()
    items = memory.items.double().numpy()
    expected = []
    for q in rows(queries):
        powers = [math.exp(float(q @ p)) for p in items]
        expected.append(sum(w / sum(powers) * p for w, p in zip(powers, items, strict=True)))
    np.testing.assert_allclose(rows(memory(queries).features), expected, atol=1e-6)


def test_distances_are_those_to_the_two_nearest_items() -> None:
    memory, queries = memory_and_queries()
    recall = memory(queries)
    q, p = rows(queries), memory.items.double().numpy()
    squared = np.sort(((q[:, None] - p) ** 2).sum(2), axis=1)
    np.testing.assert_allclose(recall.nearest.flatten(), squared[:, 0], atol=1e-5)
    np.testing.assert_allclose(recall.second.flatten(), squared[:, 1], atol=1e-5)
    features, distance = memory.read_nearest(queries)
    assert torch.equal(features, recall.features)
    assert torch.allclose(distance[:, 0], recall.nearest)


def written(queries: NDArray[np.float64], items: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equations (4) to (6) of the paper, one item and one query after the other."""
    scores = queries @ items.T
    v = np.exp(scores) / np.exp(scores).sum(0)
    nearest = scores.argmax(1)
    result = items.copy()
    for m in range(len(items)):
        members = [k for k in range(len(queries)) if nearest[k] == m]
        if not members:
            continue
        top = max(v[k, m] for k in members)
        moved = items[m] + sum(v[k, m] / top * queries[k] for k in members)
        result[m] = moved / np.linalg.norm(moved)
    return result


def test_writing_follows_the_papers_equations() -> None:
    memory, queries = memory_and_queries()
    expected = written(rows(queries), memory.items.double().numpy())
    before = memory.items.clone()
    memory.write(queries)
    np.testing.assert_allclose(memory.items, expected, atol=1e-6)
    assert not torch.equal(memory.items, before)
    np.testing.assert_allclose(memory.items.norm(dim=1), 1.0, atol=1e-6)


def test_an_item_that_is_nearest_to_no_query_stays() -> None:
    memory = placed([[1.0, 0.0], [0.0, 1.0]])
    memory.write(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2))
    assert torch.allclose(memory.items, torch.eye(2))
    memory.write(torch.zeros(0, 2, 1, 1))
    assert torch.allclose(memory.items, torch.eye(2))


def test_processes_that_share_the_queries_write_the_same_items() -> None:
    """The sums of two halves are those of the whole: what all_reduce would give."""
    memory, queries = memory_and_queries()
    whole = queries.permute(0, 2, 3, 1).reshape(-1, CHANNELS)
    scores = whole @ memory.items.t()
    mine = scores.argmax(1)[:, None] == torch.arange(ITEMS)
    largest = scores.masked_fill(~mine, -torch.inf).amax(0)
    weights = (scores - largest).exp() * mine
    second = len(whole) // 2
    rest = weights[second:].t() @ whole[second:]

    class Both(Ranks):
        """The first of two processes; the other one's part is known."""

        def minimum(self, values: torch.Tensor) -> torch.Tensor:
            return torch.minimum(values, -largest)

        def sum(self, values: torch.Tensor) -> torch.Tensor:
            return values + rest

    expected = ItemMemory(ITEMS, CHANNELS)
    expected.items.copy_(memory.items)
    expected.write(queries)
    memory.write(queries[:1], Both(0, 2, torch.device("cpu")))
    assert torch.allclose(memory.items, expected.items, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_losses_of_one_query_in_the_plane(angle: float) -> None:
    """Items at 0 and 90 degrees; |q - p|^2 = 2 - 2 cos of the angle between them."""
    memory = placed([[1.0, 0.0], [0.0, 1.0]])
    query = torch.tensor([math.cos(angle), math.sin(angle)]).reshape(1, 2, 1, 1)
    recall = memory(query)
    squares = sorted([2 - 2 * math.cos(angle), 2 - 2 * math.cos(math.pi / 2 - angle)])
    assert float(compactness(recall, 2)) == pytest.approx(squares[0] / 2, abs=1e-6)
    expected = max(0.0, math.sqrt(squares[0]) - math.sqrt(squares[1]) + 1.0)
    assert float(separateness(recall)) == pytest.approx(expected, abs=2e-4)


def test_gradients_reach_the_features_through_the_losses_alone() -> None:
    memory, _ = memory_and_queries()
    features = torch.randn(1, CHANNELS, 2, 2, requires_grad=True)
    recall = memory(unit_vectors(features))
    assert not recall.features.requires_grad
    (compactness(recall, CHANNELS) + separateness(recall)).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() > 0
    assert not memory.items.requires_grad


def test_compactness_alone_pulls_a_query_onto_its_item() -> None:
    memory = placed([[1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([1.0, 0.8]).reshape(1, 2, 1, 1).requires_grad_()
    for _ in range(200):
        (grown,) = torch.autograd.grad(
            compactness(memory(unit_vectors(features)), 2).sum(), features
        )
        features = (features - grown).detach().requires_grad_()
    assert float(memory(unit_vectors(features)).nearest.detach()) < 1e-3


def test_unit_vectors_survive_half_precision_and_nothing() -> None:
    large = torch.full((1, 512, 1, 1), 30.0)
    exact = unit_vectors(large)
    assert float(exact.square().sum()) == pytest.approx(1.0, rel=1e-5)
    half = unit_vectors(large.half())
    assert torch.allclose(half.float(), exact, rtol=5e-3)
    assert torch.equal(unit_vectors(torch.zeros(1, 3, 1, 1)), torch.zeros(1, 3, 1, 1))


def test_a_memory_of_one_item_has_no_second_nearest() -> None:
    with pytest.raises(ValueError, match="2 items"):
        ItemMemory(1, 3)
