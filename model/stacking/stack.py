"""The networks of several runs as one, with a leading dimension of runs: matrix products become batched ones.

Each run keeps its network, optimizer and generators. The parameters and buffers of the networks are views of stacked
ones, on which `torch.vmap` computes all runs' losses together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ifmmin.data.batches import Batch, stack_batches
from ifmmin.model.definition import Network
from ifmmin.model.evaluation import EVALUATION_BATCH
from ifmmin.model.run import Precision, TrainingRun, autocast
from ifmmin.model.stacking.generators import GeneratorStack

_NETWORK = "network."
"""What the names of a network's parameters and buffers begin with in its objective."""


class Stack:
    """Runs of one stage definition, whose networks have the same shape."""

    def __init__(self, runs: Sequence[TrainingRun], precision: Precision) -> None:
        self._runs, self._precision = runs, precision
        objective = runs[0].objective
        self._parameters = {name: _stacked_parameter(runs, name) for name, _ in objective.named_parameters()}
        self._buffers = {name: _stacked_buffer(runs, name) for name, _ in objective.named_buffers()}
        names = {parameter: name for name, parameter in objective.named_parameters()}
        groups = runs[0].network.clipping_groups()
        stacked = ([self._parameters[names[parameter]] for parameter in group] for group in groups)
        self._clipped = [trained for group in stacked if (trained := [p for p in group if p.requires_grad])]

    def step(self, runs: Sequence[int], rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """Train these runs on one batch each, of the same size; their losses by name, each (runs,).

        Args:
            runs: their numbers.
            rows: of each, int64 (batch,), on the CPU.
        """
        chosen = [self._runs[run] for run in runs]
        batch = stack_batches([run.training for run in chosen], rows)
        generator = GeneratorStack(tuple(run.draws for run in chosen))
        objective = chosen[0].objective

        def losses(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *parts: Any) -> dict[str, Tensor]:
            of_run = functional_call(objective, (parameters, buffers), (Batch(*parts), generator))
            return {"total": of_run.total, **of_run.terms}

        for parameter in self._parameters.values():
            if parameter.grad is not None:
                parameter.grad.zero_()
        chosen[0].network.train()
        parameters, buffers = self._of(runs)
        with autocast(chosen[0].training.device, self._precision):
            of_all = torch.vmap(losses)(parameters, buffers, *_parts(batch))
        of_all["total"].sum().backward()  # type: ignore[no-untyped-call]
        self._clip(chosen[0].hyperparameters.gradient_clip)
        for run in chosen:
            run.optimizer.step()
        self._keep_buffers(runs, buffers)
        return {name: values.detach() for name, values in of_all.items()}

    @torch.no_grad()
    def validate(self, runs: Sequence[int]) -> list[Tensor]:
        """Of each run the class probabilities of its validation set, (selection conditions, utterances, classes)."""
        network, sets = _Logits(self._runs[runs[0]].network).eval(), [self._runs[run].validation for run in runs]

        def logits(state: dict[str, Tensor], *parts: Any) -> Tensor:
            of_run: Tensor = functional_call(network, state, (Batch(*parts),))
            return of_run

        batches = []
        parameters, buffers = self._of(runs)
        state = {name: value for name, value in {**parameters, **buffers}.items() if name.startswith(_NETWORK)}
        for wanted in torch.split(torch.arange(max(map(len, sets))), EVALUATION_BATCH):
            # Where a set has ended its last utterance stands in; nobody asks for that.
            batch = stack_batches(sets, [wanted.clamp(max=len(examples) - 1) for examples in sets])
            with autocast(sets[0].device, self._precision):
                batches.append(torch.vmap(logits)(state, *_parts(batch)).float().softmax(-1))
        return [of_run[:, : len(examples)] for of_run, examples in zip(torch.cat(batches, 2), sets, strict=True)]

    def _of(self, runs: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters and buffers of these runs."""
        if len(runs) == len(self._runs):
            return self._parameters, self._buffers
        index = self._index(runs)
        return (
            {name: value[index] for name, value in self._parameters.items()},
            {name: value[index] for name, value in self._buffers.items()},
        )

    def _keep_buffers(self, runs: Sequence[int], buffers: dict[str, Tensor]) -> None:
        """Write the networks' buffers back where a step of some runs computed with copies of them."""
        if len(runs) < len(self._runs):
            for name, value in buffers.items():
                if name.startswith(_NETWORK):
                    self._buffers[name][self._index(runs)] = value

    def _index(self, runs: Sequence[int]) -> Tensor:
        return torch.tensor(runs).to(self._runs[0].training.device, non_blocking=True)

    def _clip(self, norm: float) -> None:
        """Scale each run's gradient of each clipping group down to this norm."""
        for parameters in self._clipped:
            gradients = [parameter.grad.flatten(1) for parameter in parameters]  # type: ignore[union-attr]
            total = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in gradients]).norm(dim=0)
            factor = (norm / (total + 1e-6)).clamp(max=1)[:, None]
            for part in gradients:
                part.mul_(factor)


class _Logits(nn.Module):
    """A network's logits under its selection conditions, as a module's call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return self.network.logits(batch, self.network.selection)


def _stacked_parameter(runs: Sequence[TrainingRun], name: str) -> Tensor:
    """One parameter of all runs, (runs, ...), of which the runs' parameters and gradients become views."""
    parameters = [run.objective.get_parameter(name) for run in runs]
    stacked = torch.stack([parameter.detach() for parameter in parameters])
    for index, parameter in enumerate(parameters):
        parameter.data = stacked[index]
    if parameters[0].requires_grad:
        gradients = torch.zeros_like(stacked)
        stacked.requires_grad_().grad = gradients
        for index, parameter in enumerate(parameters):
            parameter.grad = gradients[index]
    return stacked


def _stacked_buffer(runs: Sequence[TrainingRun], name: str) -> Tensor:
    """One buffer of all runs, (runs, ...). Those of the networks become views of it.

    An objective's buffers are padded with zeros where a run has fewer rows than another.
    """
    buffers = [run.objective.get_buffer(name) for run in runs]
    if len({buffer.shape for buffer in buffers}) > 1:
        longest = max(map(len, buffers))
        buffers = [F.pad(part, (0, 0) * (part.dim() - 1) + (0, longest - len(part))) for part in buffers]
    stacked = torch.stack(buffers)
    if name.startswith(_NETWORK):
        for index, buffer in enumerate(buffers):
            buffer.data = stacked[index]
    return stacked


def _parts(batch: Batch) -> tuple[Any, ...]:
    """A batch's tensors, as `torch.vmap` takes them."""
    parts = batch.features, batch.lengths, batch.labels, batch.rows
    return parts if batch.present is None else (*parts, batch.present)
