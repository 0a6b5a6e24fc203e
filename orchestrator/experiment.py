"""An experiment: a configuration with its corpus, its plan, and the store that holds its results."""

from dataclasses import dataclass

from ifmmin.data.catalogue import find_corpus
from ifmmin.data.corpus import Corpus
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Plan, make_plan
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
        store = Store(configuration.storage)
        corpus = find_corpus(configuration.corpus, store.root)
        return cls(configuration, corpus, make_plan(configuration, corpus), store)

    @classmethod
    def recorded(cls, name: str, storage: str) -> "Experiment":
        """The experiment of that name as it last ran.

        Raises:
            UserError: there is none, or its corpus is no longer the same.
        """
        description = Store(storage).read_experiment(name)
        experiment = cls.of(Configuration.model_validate({**description["configuration"], "storage": storage}))
        if experiment.corpus.fingerprint != description["fingerprint"]:
            raise StoreError(
                f"Corpus '{experiment.corpus.name}' is not the one that experiment '{name}' ran on; run it again."
            )
        return experiment

    def record(self) -> None:
        """Record the configuration in the store, so that `report` finds it."""
        self.store.write_experiment(
            self.configuration.name,
            {
                "configuration": self.configuration.model_dump(mode="json", exclude={"storage"}),
                "fingerprint": self.corpus.fingerprint,
            },
        )
