"""Specificity encoders (one for each modality) and the invariance encoder they share.

A missing modality is a zero input of the same length. The encoding of zeros depends on the length only, so it
is computed once for all utterances instead of once for each. On a CPU only the utterances that have a modality go
through its encoder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, Examples
from ifmmin.data.modalities import Encoder, Modality
from ifmmin.model.convolution import largest_response, within
from ifmmin.model.draws import Generator, dropout
from ifmmin.model.recurrence import run_lstm
from ifmmin.model.stacking.vmap import is_stacked

HIDDEN = 128
WINDOWS = (3, 4, 5)
ENCODING_BATCH = 256
GROUP = 16
"""Utterances of like length that an LSTM takes at once on a CPU."""


class SpecificityEncoder(Protocol):
    """The interface of an encoder of one modality: pool over time, then project."""

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features pooled over each utterance's time steps, (batch, pooled), of (batch, time, features)."""
        ...

    def pool_zeros(self, lengths: Tensor, longest: int) -> Tensor:
        """The same for zero inputs of these lengths, (batch, pooled); `longest` is at least the greatest."""
        ...

    def project(self, pooled: Tensor, generator: Generator | None) -> Tensor:
        """h_m, (batch, hidden), of pooled features."""
        ...


class SequenceEncoder(nn.Module):
    """For frames, `lstm` (Enc_a and Enc_v of the paper): a one-layer LSTM, then the maximum over time of its outputs.

    On a CPU, utterances of like length go through it together: acoustic lengths vary 40-fold, and most steps of a batch
    that is padded to its longest would be padding.
    """

    def __init__(self, features: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features pooled over each utterance's time steps, (batch, pooled), of (batch, time, features)."""
        if not _may_look(x) or len(x) <= GROUP or lengths.amin() == lengths.amax():
            return self.summarise(run_lstm(self.lstm, x)[0], lengths)
        order = lengths.argsort()
        groups = [(x[rows, : int(lengths[rows[-1]])], lengths[rows]) for rows in torch.split(order, GROUP)]
        pooled = torch.cat([self.summarise(self.lstm(frames)[0], steps) for frames, steps in groups])
        return pooled[order.argsort()]

    def pool_zeros(self, lengths: Tensor, longest: int) -> Tensor:
        """The same for zero inputs of these lengths, (batch, pooled)."""
        zeros = next(self.lstm.parameters()).new_zeros(1, longest, self.lstm.input_size)
        outputs, _ = run_lstm(self.lstm, zeros)
        return self.summarise_prefixes(outputs[0])[lengths - 1]

    def summarise(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """The maximum over time, (batch, hidden), of the LSTM's outputs, (batch, time, hidden)."""
        return within(outputs, lengths).amax(1)

    def summarise_prefixes(self, outputs: Tensor) -> Tensor:
        """The same of the first 1, 2, ... outputs, (time, hidden), of one utterance's, (time, hidden)."""
        maxima: Tensor = outputs.cummax(0).values
        return maxima

    def project(self, pooled: Tensor, generator: Generator | None) -> Tensor:  # noqa: ARG002
        """h_m, (batch, hidden), of pooled features."""
        return pooled


class LastOutputEncoder(SequenceEncoder):
    """A one-layer LSTM, then its output at the last time step."""

    def summarise(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """The last output within each utterance, (batch, hidden), of the LSTM's, (batch, time, hidden)."""
        last = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[-1])
        return outputs.gather(1, last)[:, 0]

    def summarise_prefixes(self, outputs: Tensor) -> Tensor:
        """The last of the first 1, 2, ... outputs: these outputs."""
        return outputs


class TextEncoder(nn.Module):
    """For tokens, `textcnn` (Enc_t of the paper): convolutions over 3, 4 and 5 time steps, ReLU, maximum; linear, ReLU.

    Before the linear layer there is dropout.

    A text shorter than the widest window counts as zero-padded up to it; no window reaches over padding otherwise.
    """

    def __init__(self, features: int, hidden: int = HIDDEN, dropout_rate: float = 0.5) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv1d(features, hidden, window) for window in WINDOWS])
        self.output = nn.Linear(len(WINDOWS) * hidden, hidden)
        self.dropout_rate = dropout_rate

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features pooled over each utterance's time steps, (batch, pooled), of (batch, time, features)."""
        if x.shape[1] < WINDOWS[-1]:
            x = F.pad(x, (0, 0, 0, WINDOWS[-1] - x.shape[1]))
        lengths = lengths.clamp(min=WINDOWS[-1])
        pooled = [largest_response(x, lengths, part.weight, part.bias) for part in self.convolutions]  # type: ignore[arg-type]
        return F.relu(torch.cat(pooled, 1))

    def pool_zeros(self, lengths: Tensor, longest: int) -> Tensor:  # noqa: ARG002
        """The same for zero inputs of these lengths, (batch, pooled)."""
        biases = torch.cat([convolution.bias for convolution in self.convolutions])  # type: ignore[misc]
        return F.relu(biases).expand(len(lengths), -1)

    def project(self, pooled: Tensor, generator: Generator | None) -> Tensor:
        """h_m, (batch, hidden), of pooled features."""
        return F.relu(self.output(dropout(pooled, self.dropout_rate, generator)))


class VectorEncoder(nn.Module):
    """For one vector an utterance, `linear`: a linear layer and ReLU. Its input has a single time step."""

    def __init__(self, features: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.output = nn.Linear(features, hidden)

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        """The vectors, (batch, features), of (batch, 1, features)."""
        return x[:, 0]

    def pool_zeros(self, lengths: Tensor, longest: int) -> Tensor:  # noqa: ARG002
        """Zeros, (batch, features)."""
        return self.output.weight.new_zeros(len(lengths), self.output.in_features)

    def project(self, pooled: Tensor, generator: Generator | None) -> Tensor:  # noqa: ARG002
        """h_m, (batch, hidden), of the vectors."""
        return F.relu(self.output(pooled))


class InvarianceEncoder(nn.Sequential):
    """Enc', shared by the modalities: linear, LeakyReLU, linear, LeakyReLU; (..., hidden) to the same shape."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__(nn.Linear(hidden, hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden), nn.LeakyReLU())


@dataclass(frozen=True)
class Encodings:
    """Both encodings of utterances, from which the encoding under any condition is assembled.

    Attributes:
        real: h of the real inputs, (batch, modalities, hidden), in the order of the corpus; that of zeros where an
            utterance lacks a modality.
        zero: h of zero inputs of the same lengths, (batch, modalities, hidden).
    """

    real: Tensor
    zero: Tensor

    def __getitem__(self, rows: Tensor) -> "Encodings":
        return Encodings(self.real[rows], self.zero[rows])

    def under(self, available: Tensor) -> Tensor:
        """h, (batch, modalities, hidden).

        Args:
            available: which inputs are real, bool (modalities,) or (batch, modalities).
        """
        return torch.where(available[..., None], self.real, self.zero)


Kinds: TypeAlias = Mapping[Encoder, Callable[[int, int], nn.Module]]
"""The encoder of a modality, by what its corpus says, from the numbers of features and of hidden units."""


class Encoders(nn.Module):
    """The encoders of all modalities of a corpus side by side, each a child by the modality's letter.

    Args:
        modalities: of the corpus.
        dimensions: how many features each has, by letter.
    """

    kinds: ClassVar[Kinds]

    def __init__(self, modalities: Sequence[Modality], dimensions: Mapping[str, int], hidden: int = HIDDEN) -> None:
        super().__init__()
        for modality in modalities:
            self.add_module(modality.letter, self.kinds[modality.encoder](dimensions[modality.letter], hidden))

    def of(self, letter: str) -> SpecificityEncoder:
        """The encoder of a modality."""
        return cast(SpecificityEncoder, self.get_submodule(letter))

    def forward(self, batch: Batch, available: Tensor | None = None, generator: Generator | None = None) -> Tensor:
        """h, (batch, modalities, hidden), with zero inputs where `available`, bool (batch, modalities), is False.

        What an utterance lacks is not available.
        """
        if batch.present is not None:
            available = batch.present if available is None else available & batch.present
        parts = []
        for index, letter in enumerate(batch.letters):
            encoder, x, lengths = self.of(letter), batch.input_of(letter), batch.lengths[letter]
            if available is None:
                pooled = encoder.pool(x, lengths)
            else:
                pooled = _pool_available(encoder, x, lengths, available[:, index])
            parts.append(encoder.project(pooled, generator))
        return torch.stack(parts, 1)

    def both(self, batch: Batch) -> Encodings:
        """The encodings of the real and of the zero inputs, without dropout: each utterance is encoded once."""
        parts, nothing = [], []
        for letter in batch.letters:
            encoder, x, lengths = self.of(letter), batch.input_of(letter), batch.lengths[letter]
            parts.append(encoder.project(encoder.pool(x, lengths), None))
            nothing.append(encoder.project(encoder.pool_zeros(lengths, x.shape[1]), None))
        real, zero = torch.stack(parts, 1), torch.stack(nothing, 1)
        if batch.present is not None:
            real = torch.where(batch.present[..., None], real, zero)
        return Encodings(real, zero)


class SpecificityEncoders(Encoders):
    """Enc_m of every modality."""

    kinds: ClassVar[Kinds] = {"lstm": SequenceEncoder, "textcnn": TextEncoder, "linear": VectorEncoder}


def _pool_available(encoder: SpecificityEncoder, x: Tensor, lengths: Tensor, available: Tensor) -> Tensor:
    """Features pooled over real inputs where `available`, bool (batch,), and over zeros elsewhere."""
    zeros = encoder.pool_zeros(lengths, x.shape[1])
    if not _may_look(x):
        return torch.where(available[:, None], encoder.pool(x, lengths), zeros)
    present = available.nonzero()[:, 0]
    if not len(present):
        return zeros
    real = encoder.pool(x[present], lengths[present])
    return zeros.to(real.dtype).index_copy(0, present, real)


def _may_look(x: Tensor) -> bool:
    """Whether the computation may depend on a tensor's values. A GPU's driver would wait for it, a stack cannot."""
    return x.device.type == "cpu" and not is_stacked(x)


@torch.no_grad()
def encode_set(encoders: Encoders, examples: Examples) -> Encodings:
    """Both encodings of every utterance of a set; of a frozen teacher they are needed once, not in every step."""
    parts = [encoders.both(batch) for batch in examples.batches(ENCODING_BATCH)]
    return Encodings(torch.cat([part.real for part in parts]), torch.cat([part.zero for part in parts]))
