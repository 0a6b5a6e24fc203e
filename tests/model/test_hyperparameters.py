"""Which values a hyperparameter accepts, and how it refuses others."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.data.errors import UserError
from ifmmin.model.hyperparameters import Hyperparameter, Kind, TrainingHyperparameters, hyperparameters_of


def of_kind(kind: Kind, **bounds: object) -> Hyperparameter:
    choices = ("mean", "last") if kind == "word" else ()
    return Hyperparameter("x", kind, 1, "something", choices=choices, **bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        ("int", 3, 3),
        ("int", 3.0, 3),
        ("float", 3, 3.0),
        ("float", 0.5, 0.5),
        ("bool", True, True),
        ("word", "mean", "mean"),
    ],
)
def test_a_value_is_accepted_in_its_kind(kind: Kind, value: object, accepted: object) -> None:
    actual = of_kind(kind).accept(value)
    assert actual == accepted
    assert type(actual) is type(accepted)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("int", True, "finite number"),
        ("float", False, "finite number"),
        ("int", 2.5, "whole number"),
        ("float", "many", "finite number"),
        ("float", float("nan"), "finite number"),
        ("float", float("inf"), "finite number"),
        ("int", float("inf"), "finite number"),
        ("bool", 1, "true or false"),
        ("bool", 0.37, "true or false"),
        ("bool", "true", "true or false"),
        ("word", "meen", "did you mean 'mean'"),
        ("word", 1, "known: mean, last"),
        ("word", True, "known: mean, last"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_a_sentence(kind: Kind, value: object, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        of_kind(kind).accept(value)
    assert str(caught.value).startswith("x ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith(".")


@given(st.floats(-10, 10))
def test_bounds_hold_for_every_number(value: float) -> None:
    bounded = of_kind("float", minimum=-1, below=2)
    if -1 <= value < 2:
        assert bounded.accept(value) == value
    else:
        with pytest.raises(UserError, match="it must be"):
            bounded.accept(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", True),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("beta1", 1),
        ("dropout", -0.1),
    ],
)
def test_training_hyperparameters_out_of_bounds_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        TrainingHyperparameters(**{name: value})  # type: ignore[arg-type]


def test_every_training_hyperparameter_is_described() -> None:
    described = hyperparameters_of(TrainingHyperparameters)
    assert [item.name for item in described][:3] == ["epochs", "constant_epochs", "batch_size"]
    assert {item.kind for item in described} == {"int", "float"}
    assert all(item.meaning for item in described)
    assert all(item.accept(item.default) == item.default for item in described)


def test_hyperparameters_need_no_pytorch() -> None:
    program = "import sys, ifmmin.model.hyperparameters; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), "nan", None, True])
@pytest.mark.parametrize("name", ["epochs", "learning_rate"])
def test_what_is_not_a_finite_number_is_refused(name: str, value: object) -> None:
    item = next(item for item in hyperparameters_of(TrainingHyperparameters) if item.name == name)
    with pytest.raises(UserError, match="must be a finite number"):
        item.accept(value)


def test_whole_numbers_are_those_of_32_bits() -> None:
    epochs = hyperparameters_of(TrainingHyperparameters)[0]
    assert epochs.accept(2**31 - 1) == 2**31 - 1
    with pytest.raises(UserError, match=r"epochs is 1e\+300; it must be below 2\^31"):
        epochs.accept(1e300)
