"""Sums of 2-D convolutions against PyTorch's 3-D ones, whole clips and their last frames."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv3d, conv_transpose3d

from trainer.models.time_convolution import Span, TimeConvolution, TimeDeconvolution

FRAMES, INPUTS, OUTPUTS = 8, 3, 5


def clip(frames: int = FRAMES) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, frames, INPUTS, 6, 8)


@pytest.mark.parametrize("time_stride", [1, 2])
def test_convolution_equals_the_3d_one(time_stride: int) -> None:
    layer = TimeConvolution(INPUTS, OUTPUTS, taps=3, time_stride=time_stride)
    weight = layer.weight.reshape(OUTPUTS, 3, INPUTS, 3, 3).transpose(1, 2)
    expected = conv3d(
        clip().transpose(1, 2), weight, layer.bias, stride=(time_stride, 2, 2), padding=1
    )
    found = layer(Span(clip(), 0, FRAMES))
    assert (found.first, found.total) == (0, FRAMES // time_stride)
    torch.testing.assert_close(found.values.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("time_stride", [1, 2])
def test_deconvolution_equals_the_3d_one(time_stride: int) -> None:
    layer = TimeDeconvolution(INPUTS, OUTPUTS, taps=3, time_stride=time_stride)
    weight = layer.weight.reshape(3, INPUTS, OUTPUTS, 3, 3).permute(1, 2, 0, 3, 4)
    expected = conv_transpose3d(
        clip().transpose(1, 2),
        weight,
        layer.bias,
        stride=(time_stride, 2, 2),
        padding=1,
        output_padding=(time_stride - 1, 1, 1),
    )
    found = layer(Span(clip(), 0, FRAMES))
    assert found.total == FRAMES * time_stride
    torch.testing.assert_close(found.values.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [TimeConvolution, TimeDeconvolution])
@pytest.mark.parametrize(("taps", "time_stride"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_the_newest_frames_need_no_more_than_is_said(
    kind: type[TimeConvolution | TimeDeconvolution],
    taps: int,
    time_stride: int,
    wanted: int,
) -> None:
    layer = kind(INPUTS, OUTPUTS, taps=taps, time_stride=time_stride)  # type: ignore[arg-type]  # a parameter is no literal
    whole = layer(Span(clip(), 0, FRAMES)).values[:, -wanted:]
    needed = layer.needs(wanted, FRAMES)
    part = layer(Span(clip()[:, -needed:], FRAMES - needed, FRAMES))
    torch.testing.assert_close(part.values[:, -wanted:], whole, atol=1e-5, rtol=1e-5)
    if min(needed, wanted) > 1:
        fewer = layer(Span(clip()[:, 1 - needed :], FRAMES - needed + 1, FRAMES))
        assert fewer.values.shape[1] < wanted


@pytest.mark.parametrize("kind", [TimeConvolution, TimeDeconvolution])
def test_a_stride_in_time_without_taps_in_time_is_refused(
    kind: type[TimeConvolution | TimeDeconvolution],
) -> None:
    with pytest.raises(ValueError, match="3 taps"):
        kind(1, 1, taps=1, time_stride=2)
