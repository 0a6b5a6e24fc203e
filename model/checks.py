"""Checks of what the framework assumes of a system.

What would silently give wrong results is refused in a sentence that names the remedy. A system is checked when it is
registered, the network of a run when its training starts.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from string import ascii_lowercase

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ifmmin.data.batches import Examples
from ifmmin.data.conditions import Condition
from ifmmin.data.errors import UserError
from ifmmin.data.modalities import ENCODERS, Modality, letters_of
from ifmmin.model.definition import Network, Objective, Shape, StageDefinition, System
from ifmmin.model.hyperparameters import hyperparameters_of
from ifmmin.model.initialisation import build_network


def check_system(system: System) -> None:
    """Check a system without data.

    Raises:
        UserError: a name or a network is not valid.
    """
    if not system.stages:
        raise UserError(f"{system.name}: a system needs at least one stage.")
    names, modalities = ["evaluate"], modalities_for(system)
    for stage, definition in system.stages.items():
        for earlier in definition.after:
            if earlier not in list(system.stages)[: list(system.stages).index(stage)]:
                raise UserError(
                    f"{system.name}, {stage}: after names '{earlier}', which is not an earlier stage of this system."
                )
        names += definition.stage_names(stage, letters_of(modalities))
        _check_definition(definition, modalities)
    repeated = {name for name in names if names.count(name) > 1 or "." in name}
    if repeated:
        raise UserError(f"{system.name}: '{min(repeated)}' is not a valid stage name; choose another.")
    known = {
        item.name for definition in system.stages.values() for item in hyperparameters_of(definition.hyperparameters)
    }
    for name in system.search_space:
        if name.rpartition(".")[2] not in known:
            raise UserError(
                f"{system.name}: search_space names '{name}', which is not a hyperparameter of this system."
            )


def modalities_for(system: System) -> tuple[Modality, ...]:
    """Modalities of a corpus that it could be run on: those it needs, and others, one for each encoder."""
    others = [letter for letter in ascii_lowercase if letter not in system.needs]
    count = max(len(ENCODERS), system.fewest_modalities, len(system.needs))
    letters = [*system.needs, *others][:count]
    return tuple(Modality(letter, letter, ENCODERS[index % len(ENCODERS)]) for index, letter in enumerate(letters))


def _check_definition(definition: StageDefinition, modalities: tuple[Modality, ...]) -> None:
    """Build its networks at a small size for a corpus of these modalities, and check them."""
    hyperparameters = definition.hyperparameters()
    dimensions = {letter: 5 + index for index, letter in enumerate(letters_of(modalities))}
    for condition in definition.networks(tuple(dimensions)):
        shape = Shape(modalities, dimensions, 3, condition)
        try:
            network = build_network(definition, shape, hyperparameters, torch.Generator().manual_seed(0))
        except KeyError as error:
            if len(str(error.args[0])) != 1:
                raise
            raise UserError(
                f"{definition.name}: its network reads modality {error.args[0]}, which not every corpus has; name it "
                f'in System(needs=("{error.args[0]}",)).'
            ) from None
        check_network(network)


def check_objective(objective: Objective) -> None:
    """Check that no module of an objective draws from global state, and that its network holds everything it trains.

    Raises:
        UserError: one draws, or a parameter is outside the network.
    """
    check_network(objective.network)
    if not objective.network.seeds_draws:
        _check_draws(objective)
    trained = set(objective.network.parameters())
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad and parameter not in trained:
            raise UserError(
                f"{name} of {type(objective).__name__} would not be trained: only the network is; move it there, or "
                "freeze it with requires_grad_(False)."
            )


def check_network(network: Network) -> None:
    """Check that no module of a network draws from global state, and that validation knows its conditions.

    Raises:
        UserError: one draws, or `selection` is not valid.
    """
    if not network.seeds_draws:
        _check_draws(network)
    selection = getattr(network, "selection", ())
    if not isinstance(selection, tuple) or not selection or not all(isinstance(c, Condition) for c in selection):
        raise UserError(
            f"{type(network).__name__} needs an attribute selection, a tuple of the conditions under which validation "
            "chooses the epoch, such as self.selection = shape.missing."
        )


def _check_draws(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if _is_random(part):
            raise UserError(
                f"{type(module).__name__}.{name} is a {type(part).__name__} that draws from PyTorch's global random "
                "state, so that results could not be repeated; set its dropout to 0 and use model.draws.dropout."
            )


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d)


def check_probabilities(network: Network, probabilities: Tensor, examples: Examples) -> None:
    """Check that a network's logits are (conditions, batch, classes).

    Raises:
        UserError: they are not.
    """
    expected = len(network.selection), len(examples), examples.classes
    if tuple(probabilities.shape) != expected:
        raise UserError(
            f"The logits of {type(network).__name__} make probabilities of shape {tuple(probabilities.shape)} of the "
            f"validation set; they must be (conditions, utterances, classes), here {expected}."
        )


@contextmanager
def no_global_draws(network: Network) -> Iterator[None]:
    """Check that nothing inside the context draws from a global random state: PyTorch's, Python's or NumPy's.

    Raises:
        UserError: something has drawn.
    """
    before = _global_states()
    yield
    after = _global_states()
    for source, state in before.items():
        if after[source] == state:
            continue
        if network.seeds_draws and source == "PyTorch":
            raise UserError(
                f"{_name_of(network)} draws random numbers in evaluation, so that a prediction would differ each time; "
                "drop only in training, as nn.Dropout does, or as functional.dropout(x, training=self.training)."
            )
        raise UserError(
            f"{_name_of(network)} or its objective draws from {source}'s global random state "
            f"({_WAYS_TO_DRAW[source]}), so that results could not be repeated; {_remedy(network)}."
        )


_WAYS_TO_DRAW = {
    "PyTorch": "functional.dropout, torch.rand or the like",
    "Python": "the module random",
    "NumPy": "numpy.random",
}


def _name_of(network: Network) -> str:
    """The class that a user wrote."""
    return type(network.module if network.seeds_draws else network).__name__


def _remedy(network: Network) -> str:
    if network.seeds_draws:
        return "draw with PyTorch, whose state is seeded for it"
    return "draw from the objective's generator, see model.draws"


def _global_states() -> dict[str, object]:
    """The states of all global generators by their library."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states.append(torch.cuda.get_rng_state())
    _, keys, *place = np.random.get_state(legacy=True)  # noqa: NPY002  (the state that must not be used)
    return {
        "PyTorch": torch.cat(states).numpy().tobytes(),
        "Python": random.getstate(),
        "NumPy": (np.asarray(keys).tobytes(), *place),
    }
