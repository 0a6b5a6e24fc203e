"""Evaluations of trained runs under protocols, on Ray; nothing is trained."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from ifmmin.model.protocols import PROTOCOLS
from ifmmin.orchestrator.commands.progress import Display
from ifmmin.orchestrator.execution.pace import Pace
from ifmmin.orchestrator.execution.scheduler import run_plan
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.plan import PlanError, Run, protocol_plan, stages_to_run


def evaluate_under(protocols: Sequence[str], experiment: Experiment, runs: Iterable[Run]) -> None:
    """Evaluate complete runs under these protocols, or `all`, where that is not in the store yet.

    Raises:
        UserError: a protocol is unknown, or an evaluation failed.
    """
    names = list(PROTOCOLS) if "all" in protocols else list(dict.fromkeys(protocols))
    plan = protocol_plan(experiment.plan, runs, names)
    store = experiment.store
    to_run = stages_to_run(plan, store.completed(plan.stages))
    if not to_run:
        return
    with Display(Console(stderr=True), "evaluation", plan, to_run, Pace()) as display:
        outcome = run_plan(plan, experiment.corpus, store, experiment.configuration.compute, display)
    for failure in outcome.failed.values():
        raise PlanError(f"An evaluation failed: {failure.reason} (traceback: {failure.traceback}).")
