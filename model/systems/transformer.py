"""A transformer over the frames of all available modalities: the plain strong baseline.

Not from a paper. A missing modality is left out by the attention mask, so that its inputs are never read.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifmmin.data.batches import Batch, availability
from ifmmin.data.conditions import Condition, all_conditions
from ifmmin.model.definition import Losses, Network, Objective, Shape, StageDefinition, System
from ifmmin.model.draws import Generator, draw_availability, dropout, dropout_over_time
from ifmmin.model.hyperparameters import TrainingHyperparameters, hyperparameter
from ifmmin.model.initialisation import initialise

MOST_STEPS = 32
"""Longer sequences are shortened to this many steps, each the mean of consecutive frames."""


@dataclass(frozen=True, kw_only=True)
class TransformerHyperparameters(TrainingHyperparameters):
    """Training of the transformer: AdamW, a linear warm-up, then cosine decay."""

    epochs: int = hyperparameter(40, "passes over the training set", minimum=1)
    warmup_epochs: int = hyperparameter(4, "epochs over which the learning rate rises", minimum=0)
    learning_rate: float = hyperparameter(5e-4, "AdamW's highest learning rate", positive=True)
    weight_decay: float = hyperparameter(0.01, "AdamW's weight decay", minimum=0)
    heads: int = hyperparameter(4, "attention heads of a layer", minimum=1)
    head_width: int = hyperparameter(32, "size of a head; a token has that of all heads", minimum=1)
    layers: int = hyperparameter(2, "layers of attention", minimum=1)


class Layer(nn.Module):
    """A pre-norm layer: attention over all tokens, then two linear layers with GELU, each added to its input."""

    def __init__(self, width: int, heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.heads, self.dropout_rate = heads, dropout_rate
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(
        self, tokens: Tensor, readable: Tensor, parts: Sequence[int], generator: Generator | None = None
    ) -> Tensor:
        """Tokens (batch, tokens, width) after the layer.

        Args:
            readable: which tokens may be read, bool (batch, tokens).
            parts: how many tokens are the class's and each modality's, with padding.
        """
        attended = self._attend(self.attention_norm(tokens), readable)
        tokens = tokens + _dropout_of_parts(attended, parts, self.dropout_rate, generator)
        transformed = self.outer(F.gelu(self.inner(self.norm(tokens))))
        return tokens + _dropout_of_parts(transformed, parts, self.dropout_rate, generator)

    def _attend(self, tokens: Tensor, readable: Tensor) -> Tensor:
        split = self.projections(tokens).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        queries, keys, values = split.unbind(2)  # each (batch, heads, tokens, width of a head)
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        weights = scores.masked_fill(~readable[:, None, None], -math.inf).softmax(-1)
        mixed: Tensor = self.mixed((weights @ values).transpose(1, 2).flatten(2))
        return mixed


class Transformer(Network):
    """A token for each step of every available modality and one for the class; layers of attention; a linear layer.

    A step's token is a linear function of its features, whose bias is the embedding of the modality, plus a sinusoidal
    position (Vaswani et al., NeurIPS 2017).
    """

    def __init__(self, shape: Shape, hyperparameters: TransformerHyperparameters) -> None:
        super().__init__()
        self.selection = shape.missing or (shape.full,)
        heads, self.dropout_rate = hyperparameters.heads, hyperparameters.dropout
        width = heads * hyperparameters.head_width
        self.inputs = nn.ModuleDict({letter: nn.Linear(shape.dimensions[letter], width) for letter in shape.letters})
        self.class_token = nn.Parameter(torch.empty(width))
        self.layers = nn.ModuleList([Layer(width, heads, self.dropout_rate) for _ in range(hyperparameters.layers)])
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, shape.classes)

    def initialise(self, generator: torch.Generator) -> None:
        """Linear weights as everywhere, and a class token of small random numbers."""
        initialise(self, generator)
        with torch.no_grad():
            self.class_token.normal_(std=0.1, generator=generator)

    def clipping_groups(self) -> list[list[nn.Parameter]]:
        """All parameters as one group, as is usual for transformers."""
        return [list(self.parameters())]

    def forward(self, batch: Batch, available: Tensor, generator: Generator | None = None) -> Tensor:
        """Logits (batch, classes) with these modalities available, bool (batch, modalities)."""
        return self.classify(*self.tokens(batch, generator), available, generator)

    def tokens(self, batch: Batch, generator: Generator | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Of each modality the tokens, (batch, steps, width), and which are not padding, bool (batch, steps)."""
        tokens, real = [], []
        for modality, layer in self.inputs.items():
            steps, lengths = shorten(batch.input_of(modality), batch.lengths[modality])
            embedded = layer(steps)
            embedded = embedded + positions(steps.shape[1], embedded.shape[-1]).to(embedded)
            tokens.append(dropout_over_time(embedded, self.dropout_rate, generator))
            real.append(torch.arange(steps.shape[1], device=steps.device) < lengths[:, None])
        return tokens, real

    def classify(
        self, tokens: list[Tensor], real: list[Tensor], available: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """Logits (batch, classes) of tokens with these modalities available, bool (batch, modalities)."""
        readable = [part & there[:, None] for part, there in zip(real, available.unbind(1), strict=True)]
        always = torch.ones_like(readable[0][:, :1])
        x = torch.cat([self.class_token.to(tokens[0].dtype).expand(len(always), 1, -1), *tokens], 1)
        mask, parts = torch.cat([always, *readable], 1), [1, *(part.shape[1] for part in tokens)]
        for layer in self.layers:
            x = layer(x, mask, parts, generator)
        logits: Tensor = self.output(dropout(self.norm(x[:, 0]), self.dropout_rate, generator))
        return logits

    def logits(self, batch: Batch, conditions: Sequence[Condition]) -> Tensor:
        """Logits (conditions, batch, classes), without dropout."""
        tokens, real = self.tokens(batch)
        masks = availability(conditions, batch.letters, batch.rows.device)[:, None].expand(-1, len(batch), -1)
        present = masks if batch.present is None else masks & batch.present
        return torch.stack([self.classify(tokens, real, available) for available in present])


def _dropout_of_parts(tokens: Tensor, parts: Sequence[int], rate: float, generator: Generator | None) -> Tensor:
    """Dropout whose draws do not depend on how far each modality is padded."""
    if generator is None or rate == 0:
        return tokens
    return torch.cat([dropout_over_time(part, rate, generator) for part in torch.split(tokens, list(parts), 1)], 1)


def shorten(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Sequences of at most 32 steps, each the mean of consecutive frames, and their lengths.

    Args:
        x: (batch, time, features).
        lengths: int64 (batch,).
    """
    if x.shape[1] <= MOST_STEPS:
        return x, lengths
    shortened = lengths.clamp(max=MOST_STEPS)
    frames = torch.arange(x.shape[1], device=x.device)
    step = frames * shortened[:, None] // lengths.clamp(min=1)[:, None]
    belongs = step[:, None] == torch.arange(MOST_STEPS, device=x.device)[:, None]
    belongs = (belongs & (frames < lengths[:, None])[:, None]).to(x.dtype)
    return belongs @ x / belongs.sum(-1, keepdim=True).clamp(min=1), shortened


def positions(steps: int, width: int) -> Tensor:
    """Sines and cosines of every position, (steps, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class TransformerObjective(Objective):
    """Cross-entropy, with a condition drawn for every utterance among all conditions."""

    network: Transformer

    def forward(self, batch: Batch, generator: Generator) -> Losses:
        """The losses of a batch."""
        available = draw_availability(batch, generator, all_conditions(batch.letters))
        loss = F.cross_entropy(self.network(batch, available, generator), batch.labels)
        return Losses(loss, {"cls": loss})


def adamw(parameters: Iterable[nn.Parameter], hyperparameters: TransformerHyperparameters) -> torch.optim.Optimizer:
    """AdamW in its fused form."""
    betas = hyperparameters.beta1, hyperparameters.beta2
    return torch.optim.AdamW(
        parameters, hyperparameters.learning_rate, betas, weight_decay=hyperparameters.weight_decay, fused=True
    )


def warmup_then_cosine(hyperparameters: TransformerHyperparameters, epoch: int) -> float:
    """The learning rate of a 0-based epoch: rising linearly in the warm-up, then half a cosine towards 0."""
    warmup, epochs = hyperparameters.warmup_epochs, hyperparameters.epochs
    if epoch < warmup:
        return hyperparameters.learning_rate * (epoch + 1) / (warmup + 1)
    progress = (epoch - warmup) / max(1, epochs - warmup)
    return hyperparameters.learning_rate * (1 + math.cos(math.pi * progress)) / 2


SYSTEM = System(
    name="transformer",
    summary="A transformer over the frames of the available modalities",
    stages={
        "train": StageDefinition(
            name="transformer",
            version=1,
            hyperparameters=TransformerHyperparameters,
            network=Transformer,
            objective=TransformerObjective,
            optimizer=adamw,
            schedule=warmup_then_cosine,
            stackable=True,
            losses={"cls": "classification, $L_{cls}$"},
        ),
    },
    fewest_modalities=1,
    search_space={"learning_rate": (1e-4, 3e-3, True), "dropout": (0.0, 0.6, False)},
)
