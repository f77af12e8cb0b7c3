"""Heads that standardise parts and make one energy of them, against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest

from edge.scoring.heads import Head, open_head
from engines.errors import DataError
from engines.model_spec import HeadSpec, Option

CENTRE, SCALE = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 4.0])
FEATURES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Z = (FEATURES.astype(np.float64) - CENTRE) / SCALE


def head(kind: str, options: dict[str, Option] | None = None, **more: np.ndarray) -> Head:
    arrays = {"centre": CENTRE, "scale": SCALE, **more}
    return open_head(HeadSpec(kind=kind, file="heads/a.npz", options=options or {}), arrays)


@pytest.mark.parametrize(
    ("aggregate", "wanted"),
    [("mean", Z.mean(1)), ("median", np.sort(Z, axis=1)[:, 1]), ("max", Z.max(1))],
)
def test_log_density_aggregates_standardised_levels(aggregate: str, wanted: np.ndarray) -> None:
    found = head("log-density", {"aggregate": aggregate}).energy(FEATURES)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_map_head_weighs_standardised_parts() -> None:
    weight = np.array([0.6, 0.0, -0.4])
    found = head("map", weight=weight).energy(FEATURES)
    np.testing.assert_allclose(found, 0.6 * Z[:, 0] - 0.4 * Z[:, 2], rtol=1e-12)
    squared = head("map", {"square": True}, weight=weight).energy(FEATURES)
    np.testing.assert_allclose(squared, found**2, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "options", "arrays", "message"),
    [
        ("log-density", {"aggregate": "least"}, {}, "least"),
        ("log-density", {"levels": 3}, {}, "levels"),
        ("log-density", {}, {"weights": CENTRE}, "weights"),
        ("log-density", {}, {"scale": np.array([1.0, 0.0, 1.0])}, "positive"),
        ("log-density", {}, {"scale": np.ones(2)}, "one length"),
        ("log-density", {}, {"centre": np.ones((2, 2))}, "centre"),
        ("map", {}, {}, "weight"),
        ("map", {}, {"weight": np.ones(2)}, "as many weights"),
        ("map", {"square": True, "power": 2}, {"weight": np.ones(3)}, "power"),
        ("mixture", {"k": 1}, {}, "no options"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, options: dict[str, Option], arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        head(kind, options, **arrays)


def test_features_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="N x 3"):
        head("log-density").energy(FEATURES[:, :2])
