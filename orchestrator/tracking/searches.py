"""Writes searches to MLflow: a parent run for the search, a child for each trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.reporting.description import describe_system, write_value
from ifmmin.orchestrator.search.trials import SearchRecord, Trial
from ifmmin.orchestrator.tracking.client import (
    FAILED,
    FINISHED,
    IDENTITY,
    KILLED,
    LEVEL,
    PARENT,
    RUNNING,
    Losses,
    connection,
    context_tags,
    experiment_id,
    log,
    log_files,
    search_runs,
)
from ifmmin.orchestrator.tracking.datasets import corpus_input
from ifmmin.orchestrator.tracking.metrics import Measurement

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NUMBER = "ifmmin.trial"
"""Tag of a trial: its number from 1."""

STATE = "ifmmin.state"
"""Tag of a trial: running, completed, stopped or failed."""

SCORE = "validation/ua"
_STATUS = {"running": RUNNING, "completed": FINISHED, "stopped": KILLED, "failed": FAILED}


@dataclass
class _Child:
    run_id: str
    steps: int
    state: str


class SearchTracker:
    """Brings MLflow up to the record of a search; what an earlier call wrote is recognised by its tags.

    Which search it is, is in its record: others of the same name, from other stores, have parents of their own.
    """

    def __init__(self, experiment: Experiment, record: SearchRecord) -> None:
        self._experiment, self._first = experiment, record
        self._parent = ""
        self._children: dict[int, _Child] = {}
        self._losses = Losses()

    def record_trial(self, number: int, trial: Trial) -> None:
        """Write what is new of a trial.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with connection(self._experiment.store) as client:
            self._record_trial(client, number, trial)

    def finish(self, record: SearchRecord, files: Mapping[str, bytes]) -> str:
        """Write what is missing of all trials, and their results.

        Returns:
            A sentence on what MLflow could not keep; empty if it has everything.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with connection(self._experiment.store) as client:
            for number, trial in enumerate(record.trials):
                self._record_trial(client, number, trial)
            if record.best:
                best = {f"best.{name}": write_value(value) for name, value in record.best.hyperparameters.items()}
                measured = [Measurement(f"best/{SCORE}", record.best.means[-1], _now(), 0)]
                for name, value in best.items():
                    client.set_tag(self._parent, name, value)
                log(client, self._parent, {}, measured)
            with self._losses.allow("tables and figures"):
                log_files(client, self._parent, files)
            failed = any(trial.state == "failed" for trial in record.trials)
            client.set_terminated(self._parent, FAILED if failed else FINISHED)
        return str(self._losses)

    def interrupt(self) -> None:
        """Mark the search and its trials as KILLED where they are not finished; a later call completes them.

        Raises:
            TrackingError: MLflow cannot be reached or written.
        """
        with connection(self._experiment.store) as client:
            mlflow_experiment = experiment_id(client, self._experiment.configuration.name)
            for parent in search_runs(client, mlflow_experiment, f"tags.`{IDENTITY}` = '{self._first.identity}'"):
                trials = search_runs(client, mlflow_experiment, f"tags.`{PARENT}` = '{parent.info.run_id}'")
                for run in (parent, *trials):
                    if run.info.status == RUNNING:
                        client.set_terminated(run.info.run_id, KILLED)

    def _record_trial(self, client: "MlflowClient", number: int, trial: Trial) -> None:
        self._open(client)
        child = self._children.get(number) or self._create(client, number, trial)
        new = [Measurement(SCORE, mean, _now(), step) for step, mean in enumerate(trial.means, 1) if step > child.steps]
        if new:
            log(client, child.run_id, {}, new)
            child.steps = len(trial.means)
        if trial.state != child.state:
            client.set_tag(child.run_id, STATE, trial.state)
            if trial.state == "running":
                client.update_run(child.run_id, RUNNING)
            else:
                client.set_terminated(child.run_id, _STATUS[trial.state])
            child.state = trial.state

    def _create(self, client: "MlflowClient", number: int, trial: Trial) -> _Child:
        experiment = self._experiment
        run = client.create_run(
            experiment_id(client, experiment.configuration.name),
            tags={PARENT: self._parent, LEVEL: "trial", NUMBER: str(number + 1), STATE: "running"},
            run_name=f"trial {number + 1}",
        )
        # What all trials share belongs to the parent: here it would come first in MLflow's comparisons.
        chosen = {name: write_value(value) for name, value in trial.hyperparameters.items()}
        parameters = {**chosen, "system": experiment.plan.systems[0], "corpus": experiment.corpus.name}
        log(client, run.info.run_id, parameters, [])
        self._log_corpus(client, run.info.run_id)
        self._children[number] = _Child(run.info.run_id, 0, "running")
        return self._children[number]

    def _open(self, client: "MlflowClient") -> None:
        """Find or make the parent, and find its children."""
        if self._parent:
            return
        configuration = self._experiment.configuration
        mlflow_experiment = experiment_id(client, configuration.name)
        parents = search_runs(client, mlflow_experiment, f"tags.`{IDENTITY}` = '{self._first.identity}'")
        if parents:
            self._parent = parents[0].info.run_id
            client.update_run(self._parent, RUNNING)
            for run in search_runs(client, mlflow_experiment, f"tags.`{PARENT}` = '{self._parent}'"):
                steps = len(client.get_metric_history(run.info.run_id, SCORE))
                number = int(run.data.tags[NUMBER]) - 1
                self._children[number] = _Child(run.info.run_id, steps, run.data.tags[STATE])
            return
        tags = {**context_tags(), LEVEL: "search", IDENTITY: self._first.identity}
        run = client.create_run(mlflow_experiment, tags=tags, run_name=f"search {configuration.name}")
        self._parent = run.info.run_id
        log(client, self._parent, describe_system(self._experiment, self._experiment.plan.systems[0]), [])
        self._log_corpus(client, self._parent)

    def _log_corpus(self, client: "MlflowClient", run_id: str) -> None:
        with self._losses.allow("the corpus as a dataset"):
            client.log_inputs(run_id, [corpus_input(self._experiment)])


def _now() -> int:
    return round(1000 * time())
