"""Several runs of one stage computed as one, with a leading dimension of runs; what a GPU needs to be busy.

Each run keeps its own network, optimizer and generators. The networks' parameters are views of stacked ones, on which
`torch.vmap` computes all runs' losses together. Batched matrix products take the place of single ones.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ifmmin.data.batches import Batch, stack_batches
from ifmmin.model.definition import Network
from ifmmin.model.draws import GeneratorStack
from ifmmin.model.evaluation import EVALUATION_BATCH
from ifmmin.model.run import Precision, TrainingRun, autocast


class Stack:
    """An engine (see `model.run`) for runs whose networks have the same shape."""

    def __init__(self, runs: Sequence[TrainingRun], precision: Precision) -> None:
        self._runs, self._precision = runs, precision
        self._parameters = {name: _stacked_parameter(runs, name) for name, _ in runs[0].objective.named_parameters()}
        self._buffers = {
            name: _padded([run.objective.get_buffer(name) for run in runs])
            for name, _ in runs[0].objective.named_buffers()
        }
        self._sub_networks = _sub_networks(runs[0], self._parameters)

    def step(self, runs: Sequence[int], rows: Sequence[Tensor]) -> dict[str, Tensor]:
        chosen = [self._runs[run] for run in runs]
        batch = stack_batches([run.training for run in chosen], rows)
        generator = GeneratorStack(tuple(run.draws for run in chosen))
        objective = chosen[0].objective

        def losses(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *parts: Any) -> dict[str, Tensor]:
            own = functional_call(objective, (parameters, buffers), (Batch(*parts), generator))
            return {"total": own.total, **own.terms}

        for parameter in self._parameters.values():
            parameter.grad.zero_()  # type: ignore[union-attr]
        with autocast(chosen[0].training.device, self._precision):
            of_all = torch.vmap(losses)(*self._of(runs), *_parts(batch))
        of_all["total"].sum().backward()  # type: ignore[no-untyped-call]
        self._clip(chosen[0].hyperparameters.gradient_clip)
        for run in chosen:
            run.optimizer.step()
        return {name: values.detach() for name, values in of_all.items()}

    @torch.no_grad()
    def validate(self, runs: Sequence[int]) -> list[Tensor]:
        network, sets = _Logits(self._runs[0].network), [self._runs[run].validation for run in runs]

        def logits(parameters: dict[str, Tensor], *parts: Any) -> Tensor:
            own: Tensor = functional_call(network, parameters, (Batch(*parts),))
            return own

        found = []
        parameters, _ = self._of(runs)
        for wanted in torch.split(torch.arange(max(map(len, sets))), EVALUATION_BATCH):
            # Where a set has ended its last utterance stands in; nobody asks for that.
            batch = stack_batches(sets, [wanted.clamp(max=len(own) - 1) for own in sets])
            with autocast(sets[0].device, self._precision):
                found.append(torch.vmap(logits)(parameters, *_parts(batch)).float().softmax(-1))
        return [own[:, : len(examples)] for own, examples in zip(torch.cat(found, 2), sets, strict=True)]

    def _of(self, runs: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters and buffers of these runs."""
        if len(runs) == len(self._runs):
            return self._parameters, self._buffers
        index = torch.tensor(runs).to(self._runs[0].training.device, non_blocking=True)
        return (
            {name: value[index] for name, value in self._parameters.items()},
            {name: value[index] for name, value in self._buffers.items()},
        )

    def _clip(self, norm: float) -> None:
        """Scale each run's gradient of each sub-network down to this norm."""
        for parameters in self._sub_networks:
            gradients = [parameter.grad.flatten(1) for parameter in parameters]  # type: ignore[union-attr]
            total = torch.stack([torch.linalg.vector_norm(own, dim=1) for own in gradients]).norm(dim=0)
            factor = (norm / (total + 1e-6)).clamp(max=1)[:, None]
            for own in gradients:
                own.mul_(factor)


class _Logits(nn.Module):
    """A network's logits under its selection conditions, as a module's call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return self.network.logits(batch, self.network.selection)


def _stacked_parameter(runs: Sequence[TrainingRun], name: str) -> Tensor:
    """One parameter of all runs, (runs, ...), whose storage and gradient the runs' own become views of."""
    own = [run.objective.get_parameter(name) for run in runs]
    stacked = torch.stack([parameter.detach() for parameter in own]).requires_grad_()
    stacked.grad = torch.zeros_like(stacked)
    for index, parameter in enumerate(own):
        parameter.data, parameter.grad = stacked.detach()[index], stacked.grad[index]
    return stacked


def _sub_networks(run: TrainingRun, stacked: dict[str, Tensor]) -> list[list[Tensor]]:
    """The stacked parameters of each sub-network whose gradient is clipped by itself."""
    names = {parameter: name for name, parameter in run.objective.named_parameters()}
    return [[stacked[names[parameter]] for parameter in part.parameters()] for part in run.network.sub_networks()]


def _padded(buffers: Sequence[Tensor]) -> Tensor:
    """Stacked, with zeros where a run has fewer rows than another."""
    longest = max(map(len, buffers))
    return torch.stack([F.pad(own, (0, 0) * (own.dim() - 1) + (0, longest - len(own))) for own in buffers])


def _parts(batch: Batch) -> tuple[Any, ...]:
    """A batch's tensors, as `torch.vmap` takes them."""
    return batch.features, batch.lengths, batch.labels, batch.rows
