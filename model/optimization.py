"""Optimizers and learning-rate schedules that a stage definition can name."""

from collections.abc import Iterable

import torch
from torch import nn

from ifmmin.model.hyperparameters import TrainingHyperparameters


def adam(parameters: Iterable[nn.Parameter], hyperparameters: TrainingHyperparameters) -> torch.optim.Optimizer:
    """Adam in its fused form."""
    betas = hyperparameters.beta1, hyperparameters.beta2
    return torch.optim.Adam(parameters, hyperparameters.learning_rate, betas, fused=True)


def constant_then_linear(hyperparameters: TrainingHyperparameters, epoch: int) -> float:
    """The learning rate of a 0-based epoch: constant for `constant_epochs`, then linear towards 0 after the last."""
    constant, epochs = hyperparameters.constant_epochs, hyperparameters.epochs
    factor = 1 - max(0, epoch + 1 - constant) / (max(0, epochs - constant) + 1)
    return hyperparameters.learning_rate * factor
