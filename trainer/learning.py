"""What the training loop must know of a model: what it minimises, and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import nn

from trainer.checkpoint import StageName
from trainer.distributed import Ranks
from trainer.patch_store import PatchStore

Model = TypeVar("Model", bound=nn.Module)
Model_contra = TypeVar("Model_contra", bound=nn.Module, contravariant=True)


@dataclass(frozen=True)
class Examined:
    """A model on held-out patches after an epoch.

    Attributes:
        judged: What decides which epoch was the best; low is good.
        facts: Numbers for the history.
        warnings: What looks wrong, in words.
    """

    judged: float
    facts: dict[str, Any]
    warnings: list[str]


class Learning(Protocol[Model_contra]):
    """How one kind of model learns. The loss is the first part plus the weight times the second."""

    @property
    def parts(self) -> tuple[str, str]:
        """Names of the two parts of the loss, for the history."""

    def objective(self, model: Model_contra, stage: StageName) -> nn.Module:
        """A module over the model: (patches in [0, 1], noise) -> (N, 2), the parts a patch."""

    def noise_size(self, model: Model_contra) -> int:
        """Standard normal numbers that the objective takes for each patch."""

    def settle(self, model: Model_contra, ranks: Ranks) -> None:
        """What is to be done after each step; called by every process."""

    def examine(
        self,
        model: Model_contra,
        stage: StageName,
        store: PatchStore,
        *,
        limit: int,
        seed: int,
        ranks: Ranks,
    ) -> Examined:
        """Judge a model on at most `limit` patches, spread evenly; the same on every process."""

    def describe(self, record: dict[str, Any]) -> str:
        """An epoch's record of the history in words."""
