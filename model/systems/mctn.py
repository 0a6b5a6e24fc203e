"""MCTN: joint representations learnt by translating modalities into each other and back (Pham et al., AAAI 2019).

There is one model for each condition. A sequence-to-sequence network with attention translates the available modalities
into the missing ones, and its translation back again; the states of its encoder are the joint representation, which
a recurrent classifier reads. At test time the available modalities alone are read. Where nothing is missing there is
nothing to translate: under full modality the encoder and the classifier are trained alone.

The original translates sequences aligned word by word. Ours differ in length between modalities, so each is
brought to one time grid of `steps` points by interpolation (see `on_grid`).

An utterance that lacks some of a condition's modalities trains its model with the others; one that lacks all of them
does not train it. Nothing is translated into what an utterance lacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifmmin.data.batches import Batch
from ifmmin.data.conditions import Condition, missing_of
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System
from ifmmin.model.draws import Generator, drawn, dropout
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.losses import mean_cross_entropy, mean_squared_error
from ifmmin.model.recurrence import run_lstm, run_lstm_cell

HIDDEN = 64
"""Half of what the other systems have: here the joint representation is a state for each point of time, not one."""


@dataclass(frozen=True, kw_only=True)
class MCTNHyperparameters(TrainingHyperparameters):
    """MCTN training, the same under every condition."""

    steps: int = hyperparameter(20, "points of the time grid that all modalities are brought to", minimum=1)
    translation_weight: float = hyperparameter(1.0, "weight of the translation loss L_trans", minimum=0)
    cycle_weight: float = hyperparameter(1.0, "weight of the cyclic translation loss L_cycle", minimum=0)
    teacher_forcing: float = hyperparameter(
        0.5, "share of decoder steps that read the truth in training", minimum=0, below=1
    )
    batch_size: int = hyperparameter(128, "utterances in a batch", minimum=1)
    learning_rate: float = hyperparameter(1e-3, "Adam's learning rate at the start", positive=True)


class AttentionDecoder(nn.Module):
    """An LSTM cell that attends to all encoder states (Luong et al., EMNLP 2015, general score)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(hidden, hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor], encoded: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step: the attentional state, (batch, hidden), and the cell's.

        Args:
            x: what the decoder reads, (batch, hidden).
            state: of the cell after the step before, twice (batch, hidden).
            encoded: the encoder's states, (batch, steps, hidden).
        """
        hidden, memory = run_lstm_cell(self.cell, x, state)
        attention = torch.bmm(encoded, self.query(hidden)[:, :, None]).softmax(1)
        context = torch.bmm(attention.mT, encoded)[:, 0]
        return torch.tanh(self.combine(torch.cat([hidden, context], 1))), (hidden, memory)


class Language(nn.Module):
    """How the sequences of some modalities are read and written; the translator between them is shared."""

    def __init__(self, features: int, hidden: int, *, written: bool) -> None:
        super().__init__()
        self.read = nn.Linear(features, hidden)
        if written:
            self.write = nn.Linear(hidden, features)


class MCTN(Network):
    """The model of one condition. Both directions share the encoder and the decoder, as in the original.

    Args:
        shape: with the condition.
        steps: points of the time grid.
    """

    def __init__(self, shape: Shape, dropout_rate: float, steps: int, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        assert shape.condition is not None
        self.condition = shape.condition
        self.selection = (shape.condition,)
        self.steps = steps
        self.dropout_rate = dropout_rate
        self.translated = missing_of(shape.condition, shape.letters)
        missing = sum(shape.dimensions[m] for m in self.translated)
        self.available = Language(
            sum(shape.dimensions[m] for m in self.condition.available), hidden, written=missing > 0
        )
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        if missing:
            self.missing = Language(missing, hidden, written=True)
            self.decoder = AttentionDecoder(hidden)
        self.reader = nn.LSTM(hidden, hidden, batch_first=True)
        self.output = nn.Linear(hidden, shape.classes)

    def classify(self, encoded: Tensor, generator: Generator | None = None) -> Tensor:
        """Logits (batch, classes) of the joint representation, (batch, steps, hidden)."""
        last = run_lstm(self.reader, encoded)[0][:, -1]
        logits: Tensor = self.output(dropout(last, self.dropout_rate, generator))
        return logits

    def translate(
        self,
        encoded: Tensor,
        state: tuple[Tensor, Tensor],
        language: Language,
        truth: Tensor | None = None,
        forced: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """A translation, (batch, steps, features), from what `nn.LSTM` returned for the encoded sequences.

        Every step reads what the step before wrote, the first one zeros; but `truth`, (batch, steps, features), of the
        step before where `forced`, bool (batch, steps), was True there and the truth is `known`, bool (batch, 1,
        features); None if all of it is.
        """
        state = (state[0][0], state[1][0])
        word = encoded.new_zeros(len(encoded), language.read.in_features)
        words = []
        for step in range(self.steps):
            attended, state = self.decoder(language.read(word), state, encoded)
            written: Tensor = language.write(attended)
            words.append(written)
            word = written
            if truth is not None and forced is not None:
                read = forced[:, step, None] if known is None else forced[:, step, None] & known[:, 0]
                word = torch.where(read, truth[:, step], written)
        return torch.stack(words, 1)

    def losses(self, batch: Batch, hyperparameters: MCTNHyperparameters, generator: Generator | None = None) -> Losses:
        """L_cls + L_trans + L_cycle, the latter two mean squared errors over all coordinates of the grid."""
        source = on_grid(batch, self.condition.available, self.steps)
        encoded, state = run_lstm(self.encoder, self.available.read(source))
        known = _known(batch, self.condition.available)
        some = None if known is None else known.any((1, 2))
        classification = mean_cross_entropy(self.classify(encoded, generator), batch.labels, some)
        if not self.translated:
            return Losses(classification, {"cls": classification})

        target, wanted = on_grid(batch, self.translated, self.steps), _known(batch, self.translated)
        if some is not None and known is not None and wanted is not None:
            known, wanted = known & some[:, None, None], wanted & some[:, None, None]
        there, back = (_draw_forced(batch, self.steps, hyperparameters.teacher_forcing, generator) for _ in range(2))
        translated = self.translate(encoded, state, self.missing, target, there, wanted)
        encoded, state = run_lstm(self.encoder, self.missing.read(translated))
        returned = self.translate(encoded, state, self.available, source, back, known)
        translation = mean_squared_error(translated, target, wanted)
        cycle = mean_squared_error(returned, source, known)
        return Losses(
            classification + hyperparameters.translation_weight * translation + hyperparameters.cycle_weight * cycle,
            {"cls": classification, "trans": translation, "cycle": cycle},
        )

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (1, batch, classes) of the network's condition."""
        assert tuple(conditions) == self.selection
        source = on_grid(batch, self.condition.available, self.steps)
        return self.classify(run_lstm(self.encoder, self.available.read(source))[0])[None]


def _known(batch: Batch, modalities: Sequence[str]) -> Tensor | None:
    """Which coordinates of some modalities utterances have, bool (batch, 1, features of all); None if all have all."""
    if batch.present is None:
        return None
    parts = []
    for modality in modalities:
        there = batch.present[:, batch.letters.index(modality), None, None]
        parts.append(there.expand(-1, 1, batch.features[modality].shape[2]))
    return torch.cat(parts, 2)


def on_grid(batch: Batch, modalities: Sequence[str], steps: int) -> Tensor:
    """Some modalities' features on one time grid, (batch, steps, features of all).

    The time of each utterance and modality is cut into `steps` equal cells; a cell's value is the mean of the sequence
    over it, each frame lasting one unit of time (first-order conservative interpolation). So every frame counts where a
    sequence is longer than the grid, and frames repeat where it is shorter.
    """
    parts = []
    for modality in modalities:
        x, lengths = batch.input_of(modality), batch.lengths[modality]
        edges = torch.arange(steps + 1, device=x.device, dtype=x.dtype) / steps * lengths[:, None]
        frames = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        start, end = edges[:, :-1, None], edges[:, 1:, None]
        overlap = (torch.minimum(end, frames + 1) - torch.maximum(start, frames)).clamp(min=0)
        parts.append(torch.bmm(overlap / (end - start), x))
    return torch.cat(parts, 2)


def _draw_forced(batch: Batch, steps: int, rate: float, generator: Generator | None) -> Tensor | None:
    if generator is None:
        return None
    size, device = (len(batch), steps), batch.labels.device
    return drawn(lambda one: torch.rand(size, generator=one, device=device), batch.labels, generator) < rate


class TranslationObjective(Objective):
    """L_cls + L_trans + L_cycle."""

    network: MCTN
    hyperparameters: MCTNHyperparameters

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch under the network's condition."""
        return self.network.losses(batch, self.hyperparameters, generator)


SYSTEM = System(
    name="mctn",
    summary="MCTN: for each condition a model that translates the available modalities into the missing ones and back",
    stages={
        "train": StageDefinition(
            name="mctn",
            version=3,
            hyperparameters=MCTNHyperparameters,
            network=lambda shape, hyperparameters: MCTN(shape, hyperparameters.dropout, hyperparameters.steps),
            objective=TranslationObjective,
            conditions="all",
            stackable=True,
            losses={
                "cls": "classification, $L_{cls}$",
                "trans": "translation, $L_{trans}$",
                "cycle": "cycle, $L_{cycle}$",
            },
        )
    },
)
