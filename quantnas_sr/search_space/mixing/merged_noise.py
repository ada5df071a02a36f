"""Equations 5 and 7 combined: a whole mixed layer with quantization noise, in as few convolutions as possible.

All candidates that are a single convolution read the same input, and a convolution is linear in its kernel. So their
weighted sum is one convolution. Its kernel is as large as the largest of theirs, and each weight is added at its place
(a grouped one on the block diagonal, a dilated one with gaps):

    sum_i total_i conv(x + s_i R(x) z, W_i + s_i R(W_i) z_i)  =  conv(x, K) + conv(R(x) z, N)
    K = sum_i A_i,    N = sum_i s_i A_i,    A_i = total_i W_i + total_i s_i R(W_i) z_i

total_i is the sum of the operation's alphas, R the range (max - min; or another extent, see `noise_size`), z and z_i
are standard normal, and s_i is the standard deviation of the noise for a range of one:
s_i^2 = sum_b (alpha^_ib sigma_b)^2. z is drawn once for all candidates. An operation of several convolutions is
computed separately, with new noise for each of its convolutions.

``exact`` computes this. ``fast`` leaves out the second convolution. Given the kernels, the output of that convolution
is Gaussian noise, and the variance of every element follows from N. So ``fast`` draws this noise directly (local
reparameterisation; Kingma, Salimans, Welling, 2015). Mean and variance of every element stay the same, but the noise of
neighbouring elements is no longer correlated. ``fast`` takes its random numbers from a `NoisePool`. The noise of the
weights is the same in both modes.
"""

from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.quantization import FreshNoise, NoisePool, same_padding
from quantnas_sr.search_space.mixing import space_to_depth
from quantnas_sr.search_space.mixing.bit_mixer import NoiseBitMixer

#: ``noise_mode:`` of the options.
NOISE_MODES = ("exact", "fast")

Kernel = Tuple[int, int]


class _NoisyWeight(torch.autograd.Function):
    """``scale * weight + strength * extent * noise``. The noise and the extent of the weight carry no gradient."""

    @staticmethod
    def forward(
        ctx, weight: Tensor, scale: Optional[Tensor], strength: Tensor, extent: Tensor, noise: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weight, scale, extent, noise)
        return torch.addcmul(weight if scale is None else weight * scale, noise, strength * extent)

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, scale, extent, noise = ctx.saved_tensors
        of_weight = None
        if ctx.needs_input_grad[0]:
            of_weight = grad if scale is None else grad * scale
        of_scale = (grad * weight).sum() if ctx.needs_input_grad[1] else None
        of_strength = (grad * noise).sum() * extent if ctx.needs_input_grad[2] else None
        return of_weight, of_scale, of_strength, None, None


def _reach(conv: nn.Conv2d) -> Kernel:
    """Height and width of the region that the kernel covers, gaps included."""
    return tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size))


def place(kernel: Tensor, conv: nn.Conv2d) -> Tuple[Tensor, bool]:
    """The view of a larger kernel that holds a convolution's weight, and whether its last dimension is the group."""
    d, (height, width) = conv.dilation[0], _reach(conv)
    top, left = (kernel.shape[2] - height) // 2, (kernel.shape[3] - width) // 2
    view = kernel[:, :, top : top + height : d, left : left + width : d]
    if conv.groups == 1:
        return view, False
    return view.unflatten(0, (conv.groups, -1)).unflatten(2, (conv.groups, -1)).diagonal(dim1=0, dim2=2), True


def _grouped_last(weight: Tensor, groups: int) -> Tensor:
    return weight.unflatten(0, (groups, -1)).movedim(0, -1)


class _Merge(torch.autograd.Function):
    """The kernels K = ``sum_i A_i`` and N = ``sum_i s_i A_i``."""

    @staticmethod
    def forward(ctx, std: Tensor, size: Kernel, convs: Sequence[nn.Conv2d], *weights: Tensor) -> Tuple[Tensor, Tensor]:
        ctx.save_for_backward(std, *weights)
        ctx.size, ctx.convs = size, convs
        shape = convs[0].out_channels, convs[0].in_channels, *size
        signal = weights[0].new_zeros(shape).contiguous(memory_format=torch.channels_last)
        noise = torch.zeros_like(signal)
        for conv, s, weight in zip(convs, std, weights):
            for kernel, term in ((signal, weight), (noise, weight * s)):
                view, grouped = place(kernel, conv)
                view.add_(_grouped_last(term, conv.groups) if grouped else term)
        return signal, noise

    @staticmethod
    def backward(ctx, of_signal: Tensor, of_noise: Tensor):
        std, *weights = ctx.saved_tensors
        of_weights: List[Tensor] = []
        of_std: List[Tensor] = []
        for conv, s, weight in zip(ctx.convs, std, weights):
            (signal, grouped), (noise, _) = place(of_signal, conv), place(of_noise, conv)
            if grouped:
                signal, noise = (g.movedim(-1, 0).flatten(0, 1) for g in (signal, noise))
            of_weights.append(torch.addcmul(signal, noise, s))
            if ctx.needs_input_grad[0]:
                of_std.append((noise * weight).sum())
        return torch.stack(of_std) if of_std else None, None, None, *of_weights


def _inside(taps: int, length: int, like: Tensor) -> Tensor:
    """1 where a tap of a kernel row lies inside the image, 0 where it lies in the padding: (length, taps)."""
    position = torch.arange(length, device=like.device)[:, None] + torch.arange(taps, device=like.device) - taps // 2
    return ((position >= 0) & (position < length)).to(like.dtype)


class _OutputNoise(torch.autograd.Function):
    """``y + noise * std``, in place. ``variance`` is what each tap of the kernel contributes, (C, kH, kW).

    Near the border fewer taps lie inside the image. The standard deviation (C, H, W) is the same for all samples.
    """

    @staticmethod
    def forward(ctx, y: Tensor, noise: Tensor, variance: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        channels, kernel_height, kernel_width = variance.shape
        height, width = y.shape[2:]
        rows, columns = _inside(kernel_height, height, variance), _inside(kernel_width, width, variance)
        with torch.autocast(y.device.type, enabled=False):
            by_row = columns @ variance.permute(1, 2, 0)
            std = (rows @ by_row.flatten(1) + 1e-20).sqrt_()
        ctx.save_for_backward(noise, std, rows, columns)
        return y.addcmul_(noise, std.view(height, width, channels).permute(2, 0, 1).to(y.dtype))

    @staticmethod
    def backward(ctx, grad: Tensor):
        noise, std, rows, columns = ctx.saved_tensors
        of_variance = _sum_of_samples(grad * noise).view_as(std).to(std.dtype).div_(2 * std)
        of_rows = (rows.t() @ of_variance).view(rows.shape[1], columns.shape[0], -1)
        return grad, None, (columns.t() @ of_rows).permute(2, 0, 1)


def _sum_of_samples(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (pixels, C), as a product with ones, which on the CPU is many times faster than ``sum(0)``."""
    flat = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
    return (x.new_ones(1, x.shape[0]) @ flat).view(-1, x.shape[1])


class MergedNoise:
    """Computes all candidates of a slot with quantization noise. One instance serves all slots of a supernet.

    Args:
        fast: ``fast`` instead of ``exact``, see the top of this file.
    """

    def __init__(self, fast: bool) -> None:
        self.fast = fast
        self.noise = NoisePool() if fast else FreshNoise()

    def __call__(self, x: Tensor, operations: Sequence[NoiseBitMixer], alphas: Tensor) -> Tensor:
        """The weighted sum of the operations.

        Args:
            x: (N, C_in, H, W).
            operations: at least one, each of at least one convolution, none at 32 bits.
            alphas: (operations, bits).

        Returns:
            (N, C_out, H, W).
        """
        chains = [list(mixer.operation) for mixer in operations]
        total = alphas.sum(dim=1)
        total_std = torch.linalg.vector_norm(alphas * chains[0][0].unit_std, dim=1)
        std = total_std / total.clamp_min(1e-12)
        input_std = torch.linalg.vector_norm(alphas * chains[0][0].input_unit_std, dim=1) / total.clamp_min(1e-12)
        rectified = torch.relu(x)
        extent_of = chains[0][0].extent
        extent = extent_of(rectified)

        terms: List[Tensor] = []
        merged: List[Tuple[nn.Conv2d, Tensor, Tensor, Optional[Tensor]]] = []
        for chain, t, s, first, ts in zip(chains, *(each.unbind() for each in (total, std, input_std, total_std))):
            *inner, last = chain
            kernel_of_last = self._kernel(last, t, ts)
            bias_of_last = None if last.bias is None else last.bias * t
            if not inner:
                merged.append((last, first, kernel_of_last, bias_of_last))
                continue
            a, a_extent, a_std = rectified, extent, first
            for conv in inner:
                a = torch.relu_(self._convolve(a, a_extent, conv, self._kernel(conv, None, s), conv.bias, a_std))
                a_extent, a_std = extent_of(a), s
            terms.append(self._convolve(a, a_extent, last, kernel_of_last, bias_of_last, a_std))
        if merged:
            terms.append(self._convolve_merged(rectified, extent, *zip(*merged)))
        return sum(terms[1:], terms[0])

    def _kernel(self, conv: nn.Conv2d, scale: Optional[Tensor], strength: Tensor) -> Tensor:
        return _NoisyWeight.apply(conv.weight, scale, strength, conv.extent(conv.weight), self.noise.draw(conv.weight))

    def _convolve(
        self, a: Tensor, extent: Tensor, conv: nn.Conv2d, kernel: Tensor, bias: Optional[Tensor], std: Tensor
    ) -> Tensor:
        """One convolution; the noise of its input has the standard deviation ``std`` times its ``extent``."""
        noisy = torch.addcmul(a, self.noise.draw(a), (extent * std).to(a.dtype))
        simple = conv.groups == 1 and conv.dilation == (1, 1)
        return _conv2d(noisy, kernel, bias) if simple else conv._conv_forward(noisy, kernel, bias)

    def _convolve_merged(
        self,
        a: Tensor,
        extent: Tensor,
        convs: Sequence[nn.Conv2d],
        stds: Sequence[Tensor],
        kernels: Sequence[Tensor],
        biases: Sequence[Optional[Tensor]],
    ) -> Tensor:
        """All operations that are a single convolution, merged into one convolution."""
        if len(convs) == 1:
            return self._convolve(a, extent, convs[0], kernels[0], biases[0], stds[0])
        size = tuple(map(max, zip(*map(_reach, convs))))
        kernel, noise_kernel = _Merge.apply(torch.stack(stds), size, convs, *kernels)
        noise_kernel = noise_kernel * extent
        y = _conv2d(a, kernel, None if biases[0] is None else sum(biases))
        if self.fast:
            return _OutputNoise.apply(y, self.noise.draw(y), noise_kernel.square().sum(1))
        return y + _conv2d(self.noise.draw(a), noise_kernel)


def _conv2d(a: Tensor, kernel: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """A convolution without groups and dilation that keeps height and width."""
    if bias is None and space_to_depth.is_faster(a, kernel):
        return space_to_depth.folded_conv2d(a, kernel)
    return F.conv2d(a, kernel, bias, padding=same_padding(kernel.shape[2:], 1))
