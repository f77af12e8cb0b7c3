"""Distillation: a student learns the teacher's vectors; one epoch is lost at most by a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from engines.atomic import replacing
from trainer.checkpoint import read_checkpoint
from trainer.feature_settings import StudentPreset
from trainer.models.student import Student
from trainer.progress import TrainingProgress
from trainer.teaching import Lessons

CHECKPOINT = "student.pt"
_WEIGHT_DECAY = 1e-4
# Of the lessons, the last part of a random order judges and does not teach.
_HELD_OUT = 0.05


def train_student(
    lessons: Lessons,
    *,
    settings: StudentPreset,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: TrainingProgress,
) -> Student:
    """Learn the answers by squared error; goes on from the checkpoint in `folder`.

    Args:
        lessons: Windows and answers, at least one batch of them.
        settings: Size of the network and length of the training.
        seed: Same seed, same weights (on one machine with one number of threads).
        folder: For the checkpoint.
        device: Where it is trained.
        progress: Told about each epoch.

    Returns:
        The student in evaluation mode, on the CPU.

    Raises:
        DataError: The checkpoint cannot be read.
        CannotCreateError: The folder cannot be written.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(
            side=lessons.windows.shape[2],
            filters=settings.filters,
            hidden=settings.hidden,
            dimensions=lessons.answers.shape[1],
            channels=lessons.windows.shape[1],
        )
    order = np.random.default_rng(seed).permutation(len(lessons))
    held = order[len(order) - max(1, int(_HELD_OUT * len(order))) :]
    taught = order[: len(order) - len(held)]
    mean = lessons.answers[taught].mean(0, dtype=np.float64).astype(np.float32)
    # Squared errors in units of the answers' variance: 1 is as good as answering with the mean.
    variance = float(np.square(lessons.answers[held].astype(np.float32) - mean).mean())
    student.start_at(torch.from_numpy(mean))
    student.to(device)
    batch = min(settings.batch, len(taught))
    steps = len(taught) // batch
    optimiser = AdamW(student.parameters(), settings.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * steps, pct_start=0.2
    )
    path = folder / CHECKPOINT
    done = 0
    state = read_checkpoint(path)
    if state is not None:
        student.load_state_dict(state["student"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = int(state["epoch"])
    progress.begin("student", total=settings.epochs)
    for epoch in range(done, settings.epochs):
        student.train()
        turn = np.random.default_rng([seed, epoch]).permutation(taught)
        for step in range(steps):
            windows, answers = _batch(lessons, turn[step * batch : (step + 1) * batch], device)
            loss = torch.square(student.raw(windows) - answers).mean() / variance
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
            optimiser.step()
            schedule.step()
        with replacing(path) as stream:
            torch.save(
                {
                    "student": student.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "epoch": epoch + 1,
                },
                stream,
            )
        progress.advance(note=f"unexplained {_unexplained(student, lessons, held, variance):.3f}")
    progress.end()
    share = _unexplained(student, lessons, held, variance)
    progress.say(f"student: {1 - share:.0%} of the teacher's variance explained on windows unseen")
    return student.cpu().eval()


def _batch(
    lessons: Lessons, some: NDArray[np.int64], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    windows = torch.from_numpy(lessons.windows[some]).to(device).float() / 255.0
    return windows, torch.from_numpy(lessons.answers[some]).to(device).float()


@torch.no_grad()
def _unexplained(
    student: Student, lessons: Lessons, held: NDArray[np.int64], variance: float
) -> float:
    """Mean squared error on held-out lessons as a part of the answers' variance."""
    device = next(student.parameters()).device
    student.eval()
    total = 0.0
    for start in range(0, len(held), 1024):
        windows, answers = _batch(lessons, held[start : start + 1024], device)
        total += float(torch.square(student.raw(windows) - answers).mean(1).sum())
    return total / len(held) / variance
