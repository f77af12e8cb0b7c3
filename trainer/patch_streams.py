"""The streams of a run whose encoders are trained on patches: collect them, then train in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.model_spec import InputSpec
from trainer.clip_split import ClipSplit
from trainer.collect import collect_patches
from trainer.distributed import Ranks
from trainer.measure import Measured
from trainer.patch_store import PatchStore
from trainer.preset import Preset
from trainer.progress import TrainingProgress
from trainer.run_directory import RunDirectory
from trainer.shared_work import SharedWork, fetch_training, offer_training
from trainer.stream_parts import StreamParts
from trainer.stream_training import StreamTraining
from trainer.train_clip_stream import train_clip_stream
from trainer.train_stream import train_stream

_FIT, _HELD_OUT = "fit", "held_out"


@dataclass(frozen=True)
class PatchStreams:
    """What the patch streams of a run are made from.

    Attributes:
        run: Its folder.
        preset: Its recipe.
        split: Its clips.
        measured: Options of the inputs that were measured on the footage, by stream name.
        shared: What other runs have done already; None: nothing is shared.
        progress: Told about each clip and epoch.
    """

    run: RunDirectory
    preset: Preset
    split: ClipSplit
    measured: Measured
    shared: SharedWork | None
    progress: TrainingProgress

    def collect(self) -> None:
        """Draw the patches; on rank 0.

        Raises:
            DataError: Nothing moves in any clip.
            CannotCreateError: The disk is full or cannot be written.
        """
        inputs, preset = self._inputs(), self.preset
        if not inputs:
            return
        parts = (
            (_FIT, self.split.fit, preset.training.patches),
            (_HELD_OUT, self.split.held_out, preset.training.held_out_patches),
        )
        for part, clips, budget in parts:
            title = part.replace("_", " ")
            stores = collect_patches(
                clips,
                inputs,
                frame=preset.frame,
                gate=preset.gate,
                budget=budget,
                folder=self._folder() / part,
                seed=preset.seed,
                title=f"patches ({title})",
                progress=self.progress,
            )
            counts = ", ".join(f"{store.count} {stream}" for stream, store in stores.items())
            self.progress.say(f"patches {title}: {counts}")
            for store in stores.values():
                store.close()

    def train(self, ranks: Ranks) -> list[StreamParts]:
        """Every stream in turn; the list is empty on ranks other than 0.

        Raises:
            VigilError: See `trainer.train_stream` and `trainer.train_clip_stream`.
        """
        trained, inputs, patches = [], self._inputs(), self._folder()
        for stream in self.preset.patch_streams:
            folder = self.run.stream(stream.name)
            mixture = stream.encoder == "gmfc_vae"
            shared = self._shared_training(stream.name, inputs[stream.name]) if mixture else None
            if shared is not None:
                fetch_training(shared, folder)
            with (
                PatchStore(patches / _FIT / stream.name) as fit,
                PatchStore(patches / _HELD_OUT / stream.name) as held_out,
            ):
                training = StreamTraining(
                    fit=fit,
                    held_out=held_out,
                    preset=self.preset,
                    stream=stream,
                    spec=stream.test_input(self.measured[stream.name]),
                    folder=folder,
                    ranks=ranks,
                    progress=self.progress,
                )
                result = (_train_mixture_stream if mixture else train_clip_stream)(training)
            if result is not None:
                trained.append(result)
                if shared is not None:
                    offer_training(folder, shared)
        return trained

    def _inputs(self) -> dict[str, InputSpec]:
        streams = self.preset.patch_streams
        return {one.name: one.train_input(self.measured[one.name]) for one in streams}

    def _folder(self) -> Path:
        """Where the patch stores lie."""
        if self.shared is None:
            return self.run.patches
        clips = (self.split.fit, self.split.held_out)
        return self.shared.patches(self.preset, self._inputs(), clips)

    def _shared_training(self, name: str, spec: InputSpec) -> Path | None:
        if self.shared is None:
            return None
        clips = (self.split.fit, self.split.held_out)
        return self.shared.encoder(self.preset, name, spec, clips)


def _train_mixture_stream(training: StreamTraining) -> StreamParts | None:
    """`train_stream`, of whose record the parts alone go into a bundle."""
    trained = train_stream(training)
    return None if trained is None else trained.parts
