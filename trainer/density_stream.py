"""A stream whose network gives log-densities: features, score matching, export, head (MULDE).

1. features of normal items (`trainer.density_features`);
2. log-density networks that each have not seen some of the clips, stopped early by those
   (`trainer.train_density`): energies of those clips are the statistics, and how far the stream can
   be trusted is measured with these networks;
3. the network of all those clips, for the bundle, for as many epochs as the others took;
4. one ONNX file each: encoder and log-density network; and the head over the levels.

An encoder that was itself trained on the clips of the fit knows them whatever is left out: there
one network is learned of these, and the held-out clips, which only the early stop has seen, give
the statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.model_spec import InputSpec
from trainer.build_context import Build
from trainer.cross_fit import cross_fit
from trainer.density_features import FeatureSource, collect_points, open_features
from trainer.export import deployed_parameters
from trainer.feature_bank import ClipFeatures
from trainer.feature_points import Points, sample_points
from trainer.feature_stream import some_items
from trainer.footage_points import by_clip, point_groups, samples_of
from trainer.learned_density import DENSITY_NAME, LearnedDensity, export_density, with_head
from trainer.network_cost import ms_per_item
from trainer.preset_sections import DensityPreset, StreamPreset
from trainer.stream_parts import LearnedParts, Samples, StreamParts, Unseen, run_network
from trainer.train_density import load_density, train_density

# Enough for a rank correlation to be judged, where the items are no larger than windows of 96 px.
_PARITY_ITEMS = (8, 64)
_PARITY_VALUES = 2_000_000


def build_density_stream(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    """All steps; features and networks that are on disk of an earlier sitting are taken from there.

    Raises:
        ConfigError: The encoder gives no features.
        InputMissingError: The extractor's file is not there.
        DataError: Nothing moves, or the extractor does not fit.
        UnavailableError: The pretrained weights are not installed.
        InternalError: The exported file differs from PyTorch.
        CannotCreateError: The run directory cannot be written.
    """
    source = open_features(stream, spec, build)
    bank = collect_points(stream, spec, build, source)
    folder = build.run.stream(stream.name)
    items = _golden_items(spec, build)
    learner = _Learner(stream.name, build)
    unseen: dict[str, Unseen] | None = None
    samples: Samples | None = None
    if source.knows_fit:
        whole = learner.learn(*_fit_and_held_out(bank, build))
    else:
        filled = [one for one in bank if len(one.rows)]
        groups, step = point_groups(filled)
        crossed = cross_fit(
            groups,
            learner.learn,
            folds=build.preset.features.folds,
            seed=build.preset.seed,
            max_points=build.preset.density.samples,
        )
        whole = learner.learn_all(groups, crossed.learned)
        without = {
            id(one): _unseen(one, source.network, items, folder / f"without_{number}")
            for number, one in enumerate(crossed.learned, start=1)
        }
        clips = [*build.split.fit, *build.split.held_out]
        unseen = by_clip(clips, bank, filled, crossed.unseen, lambda one: without[id(one)])
        samples = samples_of(filled, crossed.energies, step)
    network, answers = export_density(whole.trained.model, source.network, items, folder)
    density = deployed_parameters(whole.trained.model)
    cost = _cost(source, items, folder)
    build.progress.say(
        f"{stream.name}: an item's features cost {cost['features']:.3f} ms on one thread "
        f"({source.parameters:,} weights), its log-density {cost['density']:.3f} ms ({density:,})"
    )
    build.run.note(
        **{f"{stream.name}_density_losses": learner.losses, f"{stream.name}_ms_per_item": cost}
    )
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=LearnedParts(
            network=network,
            parameters=source.parameters + density,
            arrays=whole.arrays,
            parity_patches=items,
            parity_latents=answers,
            unseen=unseen,
            samples=samples,
            head=whole.head.kind,
            options=whole.head.options,
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


class _Learner:
    """Learns the networks of one stream, but for those that an earlier sitting has learned."""

    def __init__(self, name: str, build: Build) -> None:
        self._name = name
        self._build = build
        self._folder = build.run.stream(name)
        self._settings = build.preset.density
        self.losses: list[list[tuple[float, ...]]] = []
        """A network: of every epoch, as in `TrainedDensity.history`."""

    def learn(self, points: Points, left_out: Points) -> LearnedDensity:
        """Of one part of the clips, stopped early by the other."""
        others = sample_points(
            [left_out], max_points=self._settings.samples, seed=self._build.preset.seed
        )
        return self._learn(points, others, self._settings)

    def learn_all(
        self, groups: Sequence[Points], folds: Sequence[LearnedDensity]
    ) -> LearnedDensity:
        """Of all clips, with what was found best in the folds: epochs, and size of the head."""
        points = sample_points(
            groups, max_points=self._settings.samples, seed=self._build.preset.seed
        )
        epochs = round(float(np.median([one.trained.epochs for one in folds])))
        components = Counter(one.components for one in folds).most_common(1)[0][0]
        settings = self._settings.model_copy(update={"components": (components,)})
        return self._learn(points, None, settings, epochs)

    def _learn(
        self,
        points: Points,
        held_out: Points | None,
        settings: DensityPreset,
        epochs: int | None = None,
    ) -> LearnedDensity:
        build, number = self._build, len(self.losses) + 1
        build.progress.say(
            f"{self._name}: log-density {number} of {points.shape[1]} features from {len(points)} "
            "vectors"
        )
        seed, kept = build.preset.seed, self._folder / f"density_{number}.pt"
        trained = load_density(kept, points, settings=settings, seed=seed)
        if trained is None:
            trained = train_density(
                points,
                held_out,
                settings=settings,
                seed=seed,
                device=build.device,
                epochs=epochs,
                name=f"{self._name} {number}",
                progress=build.progress,
            )
            trained.save(kept)
        self.losses.append(list(trained.history))
        return with_head(
            trained,
            points,
            points if held_out is None else held_out,
            settings=settings,
            seed=seed,
        )


def _fit_and_held_out(bank: Sequence[ClipFeatures], build: Build) -> tuple[Points, Points]:
    """Features of the clips of the fit, as many as the recipe takes, and of the held-out ones."""
    groups = [np.concatenate([one.features, one.mirrored]) for one in bank]
    count = len(build.split.fit)
    fit = sample_points(
        groups[:count], max_points=build.preset.density.samples, seed=build.preset.seed
    )
    return fit, np.concatenate(groups[count:])


def _unseen(
    learned: LearnedDensity, encoder: Path | None, items: NDArray[np.float32], folder: Path
) -> Unseen:
    network, _ = export_density(learned.trained.model, encoder, items, folder)
    return Unseen(learned.arrays, network)


def _cost(source: FeatureSource, items: NDArray[np.float32], folder: Path) -> dict[str, float]:
    """Milliseconds an item: of its features, and of the log-density that `folder` holds."""
    features, before = items, 0.0
    if source.network is not None:
        features = run_network(source.network.read_bytes(), items)
        before = ms_per_item(source.network, items)
    return {"features": before, "density": ms_per_item(folder / DENSITY_NAME, features)}


def _golden_items(spec: InputSpec, build: Build) -> NDArray[np.float32]:
    fewest, most = _PARITY_ITEMS
    held_out = build.split.held_out
    size = some_items(held_out, spec, build.preset, 1).size
    count = min(most, max(fewest, _PARITY_VALUES // size))
    return some_items(held_out, spec, build.preset, count)
