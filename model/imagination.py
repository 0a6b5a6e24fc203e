"""The invariant-feature imagination module, IF-IM."""

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


class InvariantImagination(nn.Module):
    """IF-IM (Zuo et al., ICASSP 2023): cascaded autoencoders, each of which also reads the invariant features H'.

    The first release read the running sum h + i H' and added the last block's input to its output; this follows the
    authors' correction of 2024, which is also what the paper says.
    """

    def __init__(self, width: int, *, blocks: int = BLOCKS, sizes: Sequence[int] = BLOCK_SIZES) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Autoencoder(width, sizes) for _ in range(blocks)])
        self.output = _stack([width, width, width], nn.ReLU)
        self.representation = blocks * sizes[-1]

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


def _stack(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
