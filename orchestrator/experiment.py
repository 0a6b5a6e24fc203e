"""An experiment: a configuration with its corpus, its plan, and the store that holds its results."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ifmmin.data.catalogue import find_corpus
from ifmmin.data.corpus import Corpus
from ifmmin.data.errors import UserError
from ifmmin.orchestrator.planning.catalogue import outside_systems
from ifmmin.orchestrator.planning.configuration import Configuration, add_programs
from ifmmin.orchestrator.planning.plan import Plan, join_plans, make_plan
from ifmmin.orchestrator.store import Store, StoreError


@dataclass(frozen=True)
class Experiment:
    """A configuration with the corpus it names, the plan they make, and the store its results are in."""

    configuration: Configuration
    corpus: Corpus
    plan: Plan
    store: Store

    @classmethod
    def of(cls, configuration: Configuration) -> "Experiment":
        """Open the corpus and make the plan; nothing is written.

        Raises:
            UserError: the corpus, a system, a fold or a hyperparameter is unknown or not valid.
        """
        add_programs(configuration)
        store = Store(configuration.storage)
        corpus = find_corpus(configuration.corpus, store.root)
        return cls(configuration, corpus, make_plan(configuration, corpus), store)

    @classmethod
    def recorded(cls, name: str, storage: str) -> "Experiment":
        """The experiment of that name as it last ran, with all other runs that it holds, see `whole`.

        Raises:
            UserError: there is none, or its corpus is no longer the same.
        """
        description = Store(storage).read_experiment(name)
        experiment = cls.of(_read(description, storage))
        if experiment.corpus.fingerprint != description["fingerprint"]:
            raise StoreError(
                f"Corpus '{experiment.corpus.name}' is not the one that experiment '{name}' ran on; run it again."
            )
        return experiment.whole()

    @property
    def identity(self) -> str:
        """What makes parts one experiment; not systems, folds and seeds.

        Corpus, hyperparameters, precision, and the rates of what is removed in training.
        """
        return _identity(self.configuration, self.corpus.fingerprint)

    def whole(self) -> "Experiment":
        """The experiment with the complete runs that other drivers, or earlier calls, computed for the same one."""
        joined = self
        for part in self._parts():
            complete = self.store.completed(run.evaluation for run in part.plan.runs)
            joined = joined._with(part.plan, complete)
        return joined

    def _parts(self) -> "list[Experiment]":
        parts = []
        for description in self.store.read_parts(self.configuration.name):
            with suppress(UserError, KeyError, ValueError):  # of an earlier version, or of systems that are gone
                part = self._with_own_programs(_read(description, self.configuration.storage))
                if part != self.configuration and _identity(part, description["fingerprint"]) == self.identity:
                    parts.append(Experiment(part, self.corpus, make_plan(part, self.corpus), self.store))
        return parts

    def _with_own_programs(self, part: Configuration) -> Configuration:
        """A part of this experiment; a system of this experiment has the program it has here, not an earlier one."""
        programs = {**part.programs, **self.configuration.programs}
        part = part.model_copy(update={"programs": {name: programs[name] for name in part.systems if name in programs}})
        add_programs(part)
        return part

    def _with(self, plan: Plan, complete: set[str]) -> "Experiment":
        """The experiment with those runs of another plan that are complete."""
        joined = join_plans(self.plan, plan, complete)
        if joined is self.plan:
            return self
        runs, every = joined.runs, self.configuration.folds == "all"
        changes = {
            "systems": joined.systems,
            "folds": "all" if every else tuple(sorted({run.fold for run in runs})),
            "seeds": tuple(sorted({run.seed for run in runs})),
            "programs": {
                name: outside.content for name, outside in outside_systems().items() if name in joined.systems
            },
        }
        return replace(self, configuration=self.configuration.model_copy(update=changes), plan=joined)

    def record(self) -> None:
        """Record the configuration in the store, so that `report` finds it."""
        self.store.write_experiment(
            self.configuration.name,
            {
                "configuration": self.configuration.model_dump(mode="json", exclude={"storage"}),
                "fingerprint": self.corpus.fingerprint,
            },
        )


def _read(description: Mapping[str, Any], storage: str) -> Configuration:
    return Configuration.model_validate({**description["configuration"], "storage": storage})


def _identity(configuration: Configuration, fingerprint: str) -> str:
    content: list[Any] = [fingerprint, dict(configuration.hyperparameters), configuration.compute.precision]
    if any(configuration.train_missing.values()):
        content.append(configuration.train_missing)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
