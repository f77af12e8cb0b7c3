"""Trust in streams: weights that follow what can be seen in the scene."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from support.bundles import FRAME
from support.clips import MemoryClip

from calibration.stream_statistics import StreamStatistics
from engines.model_spec import InputSpec
from trainer.preset import Preset
from trainer.preset_sections import TrustPreset
from trainer.stream_parts import StreamParts, open_runner
from trainer.synthetic.compose import SHORTEST_S
from trainer.trust import UnseenPart, learn_trust
from trainer.trust_weights import TIE, SeenClip, auc_by_kind, choose_weights

SHAPE = (6, 8)


def clip(
    rng: np.random.Generator, kind: str, heights: tuple[float, float], frames: int = 60
) -> SeenClip:
    """Two streams of noise; on the planted cell of the second half they rise by `heights`."""
    values = rng.random((2, frames, *SHAPE)).astype(np.float32)
    on = np.zeros((frames, *SHAPE), np.bool_)
    if kind:
        on[frames // 2 :, 2, 3] = True
        for stream, height in enumerate(heights):
            values[stream, frames // 2 :, 2, 3] += height
    return SeenClip(kind, values, np.ones(values.shape, np.bool_), on, on.any((1, 2)))


def clips(first: float, second: float) -> list[SeenClip]:
    rng = np.random.default_rng(0)
    made = [clip(rng, kind, (first, second)) for kind in ("object", "near") for _ in range(2)]
    return [*made, clip(rng, "", (0.0, 0.0))]


def test_auc_is_that_of_scikit_learn_on_the_highest_cells() -> None:
    seen = clips(0.6, 0.2)
    weights = (0.7, 0.3)
    fused = [0.7 * c.values[0] + 0.3 * c.values[1] for c in seen]
    quiet = np.concatenate(
        [f[~c.on.any((1, 2))].max((1, 2)) for f, c in zip(fused, seen, strict=True)]
    )
    loud = np.concatenate([f[c.on] for f, c in zip(fused, seen, strict=True) if c.kind == "near"])
    labels = np.r_[np.ones(len(loud)), np.zeros(len(quiet))]
    expected = roc_auc_score(labels, np.concatenate([loud, quiet]))
    assert auc_by_kind(seen, weights)["near"] == pytest.approx(expected, abs=1e-6)


def test_an_alarm_beside_the_planted_thing_does_not_count() -> None:
    seen = clips(0.0, 0.0)
    for one in seen:
        one.values[0, 30:, 5, 7] += 5.0  # loud, but elsewhere
    assert auc_by_kind(seen[:4], (1.0, 0.0))["object"] < 0.2


def test_a_useless_stream_gets_nothing_and_the_fusion_keeps_up_with_the_better() -> None:
    for heights, better in (((0.8, 0.0), 0), ((0.0, 0.8), 1)):
        chosen, tried = choose_weights(clips(*heights), (0.5, 0.5), 0.05)
        assert chosen[better] >= 0.7
        alone = tuple(float(i == better) for i in range(2))
        fused, single = (np.mean(list(tried[w].values())) for w in (chosen, alone))
        assert fused >= single - 0.02


def test_streams_that_see_different_things_both_count() -> None:
    rng = np.random.default_rng(1)
    seen = [clip(rng, "fast", (0.0, 1.2)), clip(rng, "object", (1.2, 0.0)), clip(rng, "", (0, 0))]
    chosen, tried = choose_weights(seen, (0.5, 0.5), 0.05)
    assert 0.25 <= chosen[0] <= 0.75
    mean = {w: np.mean(list(by_kind.values())) for w, by_kind in tried.items()}
    assert mean[chosen] > max(mean[1.0, 0.0], mean[0.0, 1.0])


def test_equally_good_weights_fall_to_the_preset() -> None:
    seen = clips(50.0, 50.0)  # everything finds it
    assert choose_weights(seen, (0.3, 0.7), 0.1)[0] == pytest.approx((0.3, 0.7))


def test_a_stream_on_call_takes_part_only_where_it_is_needed() -> None:
    """Of weight 0 in the preset; what the first one sees, too, needs no second."""
    chosen, tried = choose_weights(clips(50.0, 50.0), (1.0, 0.0), 0.05)
    assert chosen == (1.0, 0.0)
    rng = np.random.default_rng(1)
    seen = [clip(rng, "reversed", (0.0, 5.0)), clip(rng, "object", (5.0, 0.0))]
    seen.append(clip(rng, "", (0, 0)))
    chosen, tried = choose_weights(seen, (1.0, 0.0), 0.05)
    mean = {w[1]: np.mean(list(by_kind.values())) for w, by_kind in tried.items()}
    assert chosen[1] > 0.0
    enough = max(mean.values()) - TIE
    assert chosen[1] == min(share for share, value in mean.items() if value >= enough)


def test_where_nothing_can_be_learned_the_preset_stays() -> None:
    assert choose_weights([], (0.2, 0.8), 0.1) == ((0.2, 0.8), {})
    hopeless = clips(-1.0, -1.0)  # what is planted is quieter than anything else
    assert choose_weights(hopeless, (0.2, 0.8), 0.1)[0] == (0.2, 0.8)
    everywhere = [clip(np.random.default_rng(0), "hurry", (1.0, 1.0))]
    everywhere[0].on[:] = True
    assert choose_weights(everywhere, (0.2, 0.8), 0.1)[0] == (0.2, 0.8)


def test_planted_things_that_are_never_seen_leave_the_preset_alone() -> None:
    unseen = [clip(np.random.default_rng(0), "near", (1.0, 1.0)) for _ in range(2)]
    hidden = [replace(one, on=one.on & False, planted=one.planted & False) for one in unseen]
    assert choose_weights(hidden, (0.2, 0.8), 0.1)[0] == (0.2, 0.8)


def test_a_stream_without_a_value_leaves_the_other_alone() -> None:
    seen = clips(1.0, 0.0)
    for one in seen:
        one.has[1] = False
    assert auc_by_kind(seen, (0.5, 0.5)) == pytest.approx(auc_by_kind(seen, (1.0, 0.0)))


def test_weights_between_two_steps_may_stay_and_the_record_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0.7 and 0.3 are never tried in steps of 0.5; where nothing can be learned they stay."""
    shape = (14, 21)
    rng = np.random.default_rng(0)
    statistics = StreamStatistics.fit(
        rng.gamma(3.0, 10.0, 900), rng.integers(14, size=900), rng.integers(21, size=900), shape
    )
    parts = [
        StreamParts(name=name, input=InputSpec(kind="speed"), weight=weight, learned=None)
        for name, weight in (("one", 0.7), ("other", 0.3))
    ]
    preset = Preset.model_validate(
        {
            "name": "two",
            "frame": FRAME.model_dump(),
            "streams": [
                {"name": one.name, "kind": "speed", "encoder": "none", "weight": one.weight}
                for one in parts
            ],
        }
    )
    settings = TrustPreset(per_kind=1, seconds=2.0, step=0.5)
    footage = UnseenPart(
        [MemoryClip(length=60)], lambda: [open_runner(one, threads=1) for one in parts]
    )
    monkeypatch.setattr("trainer.trust_weights.CHANCE", 1.0)  # nothing is better than that
    found = learn_trust(
        [footage],
        {one.name: statistics for one in parts},
        preset=preset,
        settings=settings,
        seed=0,
    )
    assert found.weights == {"one": 0.7, "other": 0.3}
    assert found.record.clips > 0
    assert found.record.streams["one"]
    assert found.record.fused == {}


def test_the_shortest_planted_clip_is_known_before_hours_of_training() -> None:
    assert TrustPreset(seconds=SHORTEST_S).seconds == SHORTEST_S
    with pytest.raises(ValidationError):
        TrustPreset(seconds=0.99 * SHORTEST_S)
