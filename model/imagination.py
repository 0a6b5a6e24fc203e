"""Imagination modules: cascades of autoencoders that imagine the features of missing modalities."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

BLOCKS = 5
BLOCK_SIZES = (256, 128, 64)


class Autoencoder(nn.Module):
    """One imagination block: LeakyReLU between the encoder's layers, ReLU between the decoder's, none after either."""

    def __init__(self, width: int, sizes: Sequence[int] = BLOCK_SIZES) -> None:
        super().__init__()
        self.encoder = _stack([width, *sizes], nn.LeakyReLU)
        self.decoder = _stack([*reversed(sizes), width], nn.ReLU)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Code (..., sizes[-1]) and output (..., width) of an input (..., width)."""
        code: Tensor = self.encoder(x)
        return code, self.decoder(code)


class Imagination(nn.Module):
    """The base of all imagination modules: blocks, and two linear layers after the last.

    Attributes:
        representation: the size of the joint representation C, the codes of all blocks side by side.
    """

    def __init__(self, width: int, *, blocks: int = BLOCKS, sizes: Sequence[int] = BLOCK_SIZES) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Autoencoder(width, sizes) for _ in range(blocks)])
        self.output = _stack([width, width, width], nn.ReLU)
        self.representation = blocks * sizes[-1]


class InvariantImagination(Imagination):
    """IF-IM (Zuo et al., ICASSP 2023): cascaded autoencoders, each of which also reads the invariant features H'.

    The first release read the running sum h + i H' and added the last block's input to its output; this follows the
    authors' correction of 2024, which is also what the paper says.
    """

    def forward(self, h: Tensor, invariant: Tensor) -> tuple[Tensor, Tensor]:
        """Imagined features h', (..., width), and joint representation C, (..., blocks * code).

        Args:
            h: modality-specific features under a condition, (..., width).
            invariant: H', (..., width).
        """
        codes = []
        for block in self.blocks:
            code, h = block(h + invariant)
            codes.append(code)
        return self.output(h), torch.cat(codes, -1)


class UncascadedImagination(InvariantImagination):
    """The ablation of IF-IM in which only the first block reads the invariant features H'."""

    def forward(self, h: Tensor, invariant: Tensor) -> tuple[Tensor, Tensor]:
        """As `InvariantImagination.forward`."""
        codes, h = [], h + invariant
        for block in self.blocks:
            code, h = block(h)
            codes.append(code)
        return self.output(h), torch.cat(codes, -1)


class ResidualImagination(Imagination):
    """The imagination module of MMIN (Zhao et al., ACL 2021): x_1 = h, x_(i+1) = x_i + z_i, and h' from x_M + z_M."""

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Imagined features, (..., width), and joint representation C, (..., blocks * code), of h, (..., width)."""
        codes = []
        for block in self.blocks:
            code, output = block(h)
            h = h + output
            codes.append(code)
        return self.output(h), torch.cat(codes, -1)


def _stack(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
