"""The memory of MNAD: a few unit vectors that stand for what is normal (Park et al. 2020, 3.2).

Queries q_k are the unit feature vectors of a picture's places, items p_m the memory:

    read      w_km = softmax over m of q_k . p_m;   p^_k = sum_m w_km p_m
    write     p_m <- normalise( p_m + sum_{k in U_m} (v_km / max_k v_km) q_k ),
              v_km = softmax over k of q_k . p_m,   U_m = queries whose nearest item is m

The softmax over k cancels in v_km / max_k v_km: what is left is exp(q_k . p_m - max_k q_k . p_m),
so nothing is normalised over a batch. Where the paper and the authors' program differ, the maximum
is over U_m (paper; the program takes all queries). As in the program no gradient goes
through the read weights or into the items. Reading is two 1 x 1 convolutions, as an engine likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize

from trainer.distributed import Ranks

# Sums of squares of hundreds of values must stay below 65504 in half precision.
_SHRINK = 1.0 / 16.0
_SHORTEST = 1e-4
# The root of a squared distance has no gradient at 0.
_SMALLEST_SQUARE = 1e-8
MARGIN = 1.0
"""By how much the second nearest item shall be further away than the nearest."""


@dataclass(frozen=True)
class Recall:
    """What the memory says of queries.

    Attributes:
        features: N x C x h x w, the read features p^.
        nearest: N x h x w, the squared distance of each query to its nearest item, 0 .. 4.
        second: N x h x w, the same for the second nearest item.
    """

    features: Tensor
    nearest: Tensor
    second: Tensor


def unit_vectors(features: Tensor) -> Tensor:
    """N x C x h x w -> the same, of length one over C; also in half precision."""
    small = features * _SHRINK
    length = (small * small).sum(1, keepdim=True).sqrt()
    return small / length.clamp(min=_SHORTEST)


class ItemMemory(nn.Module):
    """M unit vectors of C values; they are written to, never trained by gradient.

    Args:
        items: M, at least 2.
        channels: C.
    """

    items: Tensor

    def __init__(self, items: int, channels: int) -> None:
        super().__init__()
        if items < 2:
            raise ValueError(f"a memory needs 2 items at least, not {items}")
        # As the authors start: uniform numbers, made unit vectors.
        self.register_buffer("items", normalize(torch.rand(items, channels), dim=1))

    def similarities(self, queries: Tensor) -> Tensor:
        """N x C x h x w unit vectors -> N x M x h x w cosines."""
        return conv2d(queries, self.items[:, :, None, None])

    def forward(self, queries: Tensor) -> Recall:
        """Read: N x C x h x w unit vectors."""
        similar = self.similarities(queries)
        weights = torch.softmax(similar, 1).detach()
        best = torch.topk(similar, 2, dim=1).values
        distance = 2.0 - 2.0 * best  # of unit vectors: |q|^2 + |p|^2 - 2 q . p
        return Recall(
            features=conv2d(weights, self.items.t()[:, :, None, None]),
            nearest=distance[:, 0],
            second=distance[:, 1],
        )

    def read_nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Read for the exported graph: (features N x C x h x w, squared distance N x 1 x h x w)."""
        similar = self.similarities(queries)
        weights = torch.softmax(similar, 1)
        features = conv2d(weights, self.items.t()[:, :, None, None])
        return features, 2.0 - 2.0 * similar.amax(1, keepdim=True)

    @torch.no_grad()
    def write(self, queries: Tensor, ranks: Ranks | None = None) -> None:
        """Update the items with N x C x h x w unit queries; no query, no change.

        With several processes every one calls this with its own queries; all get the same items.
        """
        flat = queries.detach().permute(0, 2, 3, 1).reshape(-1, queries.shape[1]).float()
        similar = flat @ self.items.t().float()
        nearest = similar.argmax(1)
        mine = nearest[:, None] == torch.arange(len(self.items), device=nearest.device)
        masked = similar.masked_fill(~mine, -torch.inf)
        nothing = similar.new_full((1, len(self.items)), -torch.inf)
        largest = torch.cat([masked, nothing]).amax(0)
        if ranks is not None:
            largest = -ranks.minimum(-largest)
        empty = torch.isinf(largest)
        weights = torch.exp(masked - largest.masked_fill(empty, 0.0))
        weights = weights.masked_fill(~mine, 0.0)
        total = weights.t() @ flat
        if ranks is not None:
            total = ranks.sum(total)
        self.items.copy_(normalize(self.items.float() + total, dim=1))


def compactness(recall: Recall, channels: int) -> Tensor:
    """Mean squared difference per value of a query and its nearest item, (N,); as the authors'."""
    return recall.nearest.flatten(1).mean(1) / channels


def separateness(recall: Recall) -> Tensor:
    """max(0, |q - p_1st| - |q - p_2nd| + 1), mean over the queries of each picture, (N,)."""
    first, second = (
        d.flatten(1).clamp(min=_SMALLEST_SQUARE).sqrt() for d in (recall.nearest, recall.second)
    )
    return (first - second + MARGIN).clamp(min=0.0).mean(1)
