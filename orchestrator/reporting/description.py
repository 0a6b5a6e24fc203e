"""Systems of an experiment in words: their hyperparameters, and what else their results depend on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import Plan, default_hyperparameters
from ifmmin.orchestrator.planning.stage import Stage


def describe_system(experiment: Experiment, system: str) -> dict[str, str]:
    """The hyperparameters of a system, and what else its results depend on, by name."""
    configuration, corpus, plan = experiment.configuration, experiment.corpus, experiment.plan
    runs = plan.runs_of(system)
    stages = [plan.stages[key] for key in runs[0].stages.values()]
    return {
        "system": system,
        **{name: write_value(value) for name, value in plan.hyperparameters[system].items()},
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "folds": write_numbers(run.fold for run in runs),
        "seeds": write_numbers(run.seed for run in runs),
        "precision": configuration.compute.precision,
        **({"train_missing": write_rates(stages[0].train_missing)} if stages[0].train_missing else {}),
        **({"best_of": configuration.best_of} if configuration.best_of else {}),
        "code_version": ", ".join(dict.fromkeys(f"{_code(stage)} {stage.version}" for stage in stages)),
    }


def changed_hyperparameters(plan: Plan, system: str) -> dict[str, str]:
    """The hyperparameters of a system that are not its defaults; named without stage where all its stages agree."""
    defaults, chosen = default_hyperparameters(system), plan.hyperparameters[system]
    variants: defaultdict[str, set[HyperparameterValue]] = defaultdict(set)
    for name, value in chosen.items():
        variants[_without_stage(name)].add(value)
    return {
        _without_stage(name) if len(variants[_without_stage(name)]) == 1 else name: write_value(value)
        for name, value in chosen.items()
        if value != defaults[name]
    }


def write_value(value: HyperparameterValue) -> str:
    """A hyperparameter as `--set` takes it.

    >>> write_value(100.0), write_value(0.5), write_value(True), write_value("mean")
    ('100', '0.5', 'true', 'mean')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(value)


def write_rates(rates: Mapping[str, float]) -> str:
    """Rates by modality as `--train-missing` takes them.

    >>> write_rates({"a": 0.1, "v": 0.5})
    'a=0.1,v=0.5'
    """
    return ",".join(f"{letter}={rate:g}" for letter, rate in rates.items())


def write_numbers(numbers: Iterable[int]) -> str:
    """Whole numbers as configurations take them, see `planning.configuration.parse_numbers`.

    >>> write_numbers([1, 2, 3, 5, 3])
    '1-3,5'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _code(stage: Stage) -> str:
    return stage.definition if stage.action == "train" else stage.action


def _without_stage(name: str) -> str:
    return name.rpartition(".")[2]
