"""A student learns a teacher's view of windows; strange windows are varied and reproducible."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines.errors import DataError
from trainer.export import export_network
from trainer.feature_settings import StudentPreset
from trainer.models.student import Student
from trainer.open_encoder import TorchEncoder, open_encoder
from trainer.progress import SilentTraining
from trainer.teaching import Lessons, ask
from trainer.train_student import CHECKPOINT, train_student
from trainer.variations import Variations

SIDE, DIMENSIONS = 16, 6
SETTINGS = StudentPreset(filters=(8, 16), hidden=32, epochs=6, batch=64, learning_rate=5e-3)
CPU = torch.device("cpu")


def lessons(count: int = 2000) -> Lessons:
    """The answer is where the light is: unit vectors of the mean grey of six parts."""
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    windows = windows.repeat(4, axis=2).repeat(4, axis=3)
    parts = windows.reshape(count, 16, 16)[:, ::8, ::6].reshape(count, -1)[:, :DIMENSIONS]
    answers = parts.astype(np.float32) + 1.0
    answers /= np.linalg.norm(answers, axis=1, keepdims=True)
    return Lessons(windows, answers.astype(np.float16))


def train(folder: Path, seed: int = 0) -> Student:
    torch.set_num_threads(1)
    return train_student(
        lessons(),
        settings=SETTINGS,
        seed=seed,
        folder=folder,
        device=CPU,
        progress=SilentTraining(),
    )


def error(student: Student, of: Lessons) -> float:
    with torch.no_grad():
        found = student(torch.from_numpy(of.windows).float() / 255.0).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    return float(np.square(found - of.answers).sum(1).mean())


def test_the_student_explains_most_of_what_can_be_learned(tmp_path: Path) -> None:
    given = lessons()
    spread = np.square(given.answers - given.answers.mean(0)).sum(1).mean()
    assert error(train(tmp_path), given) < 0.3 * spread


def test_same_seed_same_student(tmp_path: Path) -> None:
    first, other = train(tmp_path / "a"), train(tmp_path / "b", seed=1)
    finished = train(tmp_path / "a")  # the checkpoint answers
    second = train(tmp_path / "c")
    for one, two, three in zip(
        first.parameters(), second.parameters(), finished.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    assert any(
        not torch.equal(one, two)
        for one, two in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_an_interrupted_student_ends_like_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path / "a")

    class PowerCutError(Exception):
        """The power goes."""

    class Progress(SilentTraining):
        def advance(self, note: str = "") -> None:
            raise PowerCutError(note)

    with pytest.raises(PowerCutError):
        train_student(
            lessons(), settings=SETTINGS, seed=0, folder=tmp_path, device=CPU, progress=Progress()
        )
    assert (tmp_path / CHECKPOINT).is_file()
    for one, two in zip(whole.parameters(), train(tmp_path).parameters(), strict=True):
        assert torch.equal(one, two)


def test_windows_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="halved"):
        Student(side=20, filters=(4, 4, 4), hidden=8, dimensions=3)


def test_a_teacher_sees_rgb_whatever_the_order_of_the_picture(tmp_path: Path) -> None:
    class Channels(nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            return patches.mean((2, 3))

    network = tmp_path / "t.onnx"
    export_network(Channels(), network, side=8)
    blue = np.zeros((70, 8, 8, 3), np.uint8)
    blue[..., 0] = 255
    teacher = open_encoder(Channels(), network, device=CPU, threads=1)
    answers = ask(teacher, blue)
    teacher.close()
    np.testing.assert_allclose(answers, np.tile([0.0, 0.0, 1.0], (70, 1)), atol=1e-3)


def test_variations_are_reproducible_and_differ_from_the_originals() -> None:
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (20, 48, 48, 3), dtype=np.uint8)
    frames = [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)]
    drawn = Variations(windows, frames, seed=3).draw(60)
    assert drawn.shape == (60, 48, 48, 3)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, Variations(windows, frames, seed=3).draw(60))
    assert (drawn != Variations(windows, frames, seed=4).draw(60)).any()
    same = [(drawn[i] == windows).all((1, 2, 3)).any() for i in range(60)]
    assert np.mean(same) < 0.1


def test_grey_footage_gives_coloured_shapes_only_sometimes() -> None:
    grey = np.full((4, 48, 48, 3), 90, np.uint8)
    drawn = Variations(grey, [np.full((90, 120, 3), 90, np.uint8)], seed=0)
    pieces = [drawn.piece_of_frame() for _ in range(5)] + [drawn.bent() for _ in range(5)]
    assert all((piece == 90).all() for piece in pieces)
    changed = [(drawn.drawn_on() != 90).mean() for _ in range(20)]
    assert min(changed) > 0.0
    assert np.median(changed) < 0.9


def test_pytorch_and_onnx_runtime_look_alike(tmp_path: Path) -> None:
    """On a GPU windows are looked at with PyTorch; the CPU stands in for it."""
    student = Student(side=SIDE, filters=(8, 16), hidden=32, dimensions=DIMENSIONS)
    export_network(student.eval(), tmp_path / "s.onnx", side=SIDE, channels=1)
    windows = np.random.default_rng(0).random((9, 1, SIDE, SIDE), np.float32)
    runtime = open_encoder(student, tmp_path / "s.onnx", device=CPU, threads=1)
    torch_one = TorchEncoder(student, CPU)
    np.testing.assert_allclose(torch_one.infer(windows), runtime.infer(windows), atol=1e-5)
    torch_one.close()
    torch_one.close()
    with pytest.raises(ValueError, match="closed"):
        torch_one.infer(windows)


def test_a_damaged_checkpoint_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="checkpoint cannot be read") as caught:
        train(tmp_path)
    assert caught.value.where == str(tmp_path / CHECKPOINT)
