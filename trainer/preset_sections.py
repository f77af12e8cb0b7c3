"""The sections of a preset: closed, frozen, typed; every number of a recipe has its place here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.model_spec import InputSpec, Option, Positive, Strict

MEASURED = {"motion": frozenset({"scale"}), "window": frozenset({"top", "bottom"})}
"""Options by input kind that are measured on normal footage where a preset leaves them out."""

OWN_KIND = {"mnad": "clip", "place": "direction", "random": "direction", "top_heavy": "clip"}
"""Encoders that take one input kind alone, which no other encoder takes."""

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class StreamPreset(Strict):
    """One stream: kind of input, geometry in pixels of the working frame, and fusion weight.

    Attributes:
        kind: Input kind of `edge.inputs`.
        patch: Side of what the network sees.
        train_stride: Grid of the training patches (encoder gmfc_vae).
        test_stride: Grid of the runtime.
        options: Of the input kind. What is left out and depends on the scene is measured on normal
            footage: `scale` of kind motion (99.9 % quantile of the magnitude over moving cells),
            `top` and `bottom` of kind window (size of what moves).
        encoder: "gmfc_vae" trains one with its mixture (Fan et al.); "mnad" and "top_heavy" train a
            network of whole clips (kind clip, see `trainer.clip_settings`); "backbone" takes
            pretrained features and "student" a small network that imitates them, both with a
            mixture of many spherical components; "place" learns a table of which directions are
            common where (kind direction); "random" draws such a table by lot, a stream that knows
            nothing, to see what the others make of it; "onnx" takes features of a network that the
            preset's section `extractor` names; "none": the input itself is the energy.
        head: "own": the encoder's, as above; "log-density": a network that is trained on the
            encoder's features (with encoder none: on the input's) gives their log-density at
            several noise levels; see the preset's section `density`.
        statistics: Centre and spread of the energy of each cell, of each neighbourhood, or one for
            the whole picture.
        blur_cells: Sigma of a Gaussian over its surprise, in grid cells; 0: none.
        carry_s: Time constant of the motion-compensated mean of its surprise, seconds; 0: none.
        weight: Share in the fusion, unless trust in the streams is learned.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    kind: str
    patch: Annotated[int, Field(ge=8, le=256)] = 28
    train_stride: Positive = 7
    test_stride: Positive = 28
    options: dict[str, Option] = Field(default_factory=dict)
    encoder: Literal[
        "gmfc_vae", "backbone", "student", "onnx", "mnad", "top_heavy", "place", "random", "none"
    ] = "gmfc_vae"
    head: Literal["own", "log-density"] = "own"
    statistics: Literal["cell", "neighbourhood", "picture"] = "cell"
    blur_cells: NotNegative = 0.0
    carry_s: NotNegative = 0.0
    weight: UpToOne = 0.5

    @property
    def unmeasured(self) -> frozenset[str]:
        """Options of the input that have to be measured before it can be opened."""
        return MEASURED.get(self.kind, frozenset()) - set(self.options)

    def train_input(self, measured: Mapping[str, float] | None = None) -> InputSpec:
        """The input with the training stride; `measured` gives the options that are left out."""
        return self._input(self.train_stride, measured)

    def test_input(self, measured: Mapping[str, float] | None = None) -> InputSpec:
        """The input with the runtime's stride; `measured` gives the options that are left out."""
        return self._input(self.test_stride, measured)

    def _input(self, stride: int, measured: Mapping[str, float] | None) -> InputSpec:
        options = {**(measured or {}), **self.options}
        return InputSpec(kind=self.kind, patch=self.patch, stride=stride, options=options)


class NetPreset(Strict):
    """The network of every stream (Fan et al., Table I; readings A1, A5, A6 of the paper note).

    Attributes:
        filters: Output channels of C1, C2, C3 and C4. Table I: 64, 128, 256, 64; its text version:
            32, 64, 128, 256.
        latent: Dimensions J of the latent vector.
        components: Components K of the mixture prior.
        sigma_x2: Variance of a pixel given z: "residual" = held-out mean squared error of the
            pre-training, or a number; 0.5 gives Eq. (14) as printed.
        output: Last activation of the decoder.
        reconstruction: Append how badly a patch is rebuilt (ln of the squared error of a pixel)
            to the latent vector, one more coordinate of the energy; the decoder runs on the device.
    """

    filters: tuple[Positive, Positive, Positive, Positive] = (64, 128, 256, 64)
    latent: Positive = 64
    components: Positive = 20
    sigma_x2: Literal["residual"] | Rate = "residual"
    output: Literal["sigmoid", "linear"] = "sigmoid"
    reconstruction: bool = False


class StagePreset(Strict):
    """At most `epochs`; ends early when held-out loss has not fallen `patience` times."""

    epochs: Annotated[int, Field(ge=0)]
    patience: Positive = 2


class TrainingPreset(Strict):
    """How the network of one stream is trained.

    Attributes:
        patches: Training patches a stream, sampled evenly over the clips.
        held_out_patches: Patches from held-out clips, for early stopping and the diagnostics.
        batch: Patches a step, over all processes together.
        learning_rate: Of Adam, all stages.
        schedule: "cosine" lets it fall to nearly 0 over the epochs of a stage.
        weight_decay: Coupled L2 on convolution weights only.
        gradient_clip: Largest norm of the gradient of one step; 0 switches it off.
        pretrain: The auto-encoder stage.
        joint: The stage that minimises Eq. (14).
        kl_warm_up: Share of the joint steps over which the weight of the KL part rises from 0 to 1.
        prune: A component whose mean responsibility is below 1 / (prune K) is dropped; 0 keeps all.
        precision: "auto": mixed precision on a GPU, float32 on a CPU.
    """

    patches: Positive = 100_000
    held_out_patches: Positive = 5_000
    batch: Positive = 100
    learning_rate: Rate = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: NotNegative = 5e-4
    gradient_clip: NotNegative = 5.0
    pretrain: StagePreset = StagePreset(epochs=2)
    joint: StagePreset = StagePreset(epochs=4)
    kl_warm_up: UpToOne = 0.05
    prune: NotNegative = 20.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class EmPreset(Strict):
    """The mixture that the joint stage starts from.

    Attributes:
        restarts: Starts from k-means++; the one with the best held-out likelihood is taken.
        iterations: Most EM steps of one start.
        tolerance: A start ends when the mean log-likelihood rises by less than this, in nats.
        patches: Latent vectors used at most (a random part of the training patches).
        variance_floor: Smallest variance, as a part of the pooled variance of the dimension.
    """

    restarts: Positive = 5
    iterations: Positive = 100
    tolerance: Rate = 1e-3
    patches: Positive = 40_000
    variance_floor: Rate = 1e-3


class DensityPreset(Strict):
    """The log-density network of streams with ``head: log-density`` (MULDE, Micorek et al. 2024).

    Attributes:
        dimensions: Principal axes of the features that it sees; 0: the features as they are.
        scale: "axis": each axis is standardised (the authors); "common": one scale for all, which
            leaves distances as they are.
        network: "perceptron" (the authors), or "radial" units; see `trainer.models.radial_density`.
        hidden: Width of the perceptron's hidden layers (the authors: 4096, 4096).
        centres: Radial units, at most; fewer if there are less than 8 vectors for each.
        noise_low: Smallest noise level of the training, in standardised features; see the preset
            `mulde` for why not the authors' 0.001.
        noise_high: Largest.
        levels: Noise levels that a device asks for.
        grid: How they are spaced between the two: "log", as training draws them, or "linear", as
            in the authors' code. A choice of the recipe, made before any test clip is seen.
        beta: Weight of the regulariser that makes levels comparable (the authors: 0.1).
        aggregate: How the levels become one energy: a "mixture" with full covariances over them,
            or "mean", "median", "max" of the levels, each standardised on normal footage.
        components: Numbers of components that are tried for the mixture; held-out likelihood
            chooses.
        samples: Feature vectors that it learns from, at most.
        epochs: Passes over them, at most.
        patience: Ends early when held-out loss has not fallen so many times.
        batch: Vectors a step.
        learning_rate: Of Adam, at the start of a cosine schedule.
    """

    dimensions: Annotated[int, Field(ge=0)] = 64
    scale: Literal["axis", "common"] = "axis"
    network: Literal["perceptron", "radial"] = "perceptron"
    centres: Positive = 1000
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (512, 512)
    noise_low: Rate = 0.3
    noise_high: Rate = 1.0
    levels: Annotated[int, Field(ge=1, le=64)] = 16
    grid: Literal["log", "linear"] = "log"
    beta: NotNegative = 0.02
    aggregate: Literal["mixture", "mean", "median", "max"] = "mixture"
    components: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 3, 5)
    samples: Positive = 40_000
    epochs: Positive = 30
    patience: Positive = 5
    batch: Positive = 512
    learning_rate: Rate = 5e-4

    @model_validator(mode="after")
    def _noise_rises(self) -> DensityPreset:
        if self.noise_low >= self.noise_high:
            raise ValueError("noise_low must be smaller than noise_high")
        return self


class ExtractorPreset(Strict):
    """A network of the user's own that gives features, for streams with ``encoder: onnx``.

    Attributes:
        file: ONNX file; one input float32 N x channels x side x side, first output N x J or
            N x J x rows x columns (then averaged over the places).
        mean: What is taken off each channel of pictures in [0, 1]; one number for all, or one each.
        std: What they are then divided by.
    """

    file: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Rate, ...] = (1.0,)


class TrustPreset(Strict):
    """Learn the streams' weights from synthetic anomalies in held-out normal footage.

    Attributes:
        per_kind: Synthetic clips of each kind.
        seconds: Length of each, and of the normal footage of each clip beside them; 2 or more.
        step: Weights are tried in steps of this size.
    """

    per_kind: Positive = 2
    seconds: Annotated[float, Field(ge=2)] = 6.0
    step: Annotated[float, Field(gt=0, le=0.5)] = 0.05


class CalibrationPreset(Strict):
    """What part of the normal footage calibrates, and the alarm rule of the first threshold.

    Attributes:
        held_out: Share of the clips for sigma_x^2, EM selection, early stop and cell statistics.
        threshold: Share of the clips that only the threshold sees.
        budget_per_hour: False alarms per hour of normal video that the first threshold aims at.
        confidence: Confidence level of the proven rate.
        open_frames: Consecutive frames above the threshold that open an event.
        close_s: Seconds below it that close the event.
        merge_s: Seconds within which a new opening continues the same event.
    """

    held_out: Share = 0.15
    threshold: Share = 0.2
    budget_per_hour: Rate = 1.0
    confidence: Share = 0.95
    open_frames: Positive = 3
    close_s: NotNegative = 1.0
    merge_s: NotNegative = 1.0

    @model_validator(mode="after")
    def _something_is_left(self) -> CalibrationPreset:
        if self.held_out + self.threshold >= 0.9:
            raise ValueError("held_out + threshold must leave at least a tenth for the training")
        return self
