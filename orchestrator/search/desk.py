"""Where the trials of a search ask for stages: each is computed once, whoever asks and however many ask at once."""

import asyncio

import numpy as np
import ray
from ray.exceptions import RayError

from ifmmin.orchestrator.execution.workers import Workers, context_behind
from ifmmin.orchestrator.planning.configuration import Configuration
from ifmmin.orchestrator.planning.plan import Stage, make_plan
from ifmmin.orchestrator.search.trials import Settings, runs_of_fold, trained_stages, with_settings


@ray.remote(num_cpus=0)
class Desk:
    """An actor that holds no CPU. Its stages run outside the placement groups of trials, which hold none either."""

    def __init__(self, configuration: Configuration, workers: Workers) -> None:
        self._configuration, self._workers = configuration, workers
        context = context_behind(workers.context)
        self._corpus, self._store = context.corpus, context.store
        self._running: dict[str, asyncio.Task[None]] = {}
        self._computed: list[str] = []

    async def validate(self, settings: Settings, fold: int) -> list[float]:
        """Validation UA of the selected epoch, from 0 to 1, of every seed of a fold; the stages are run if need be."""
        plan = make_plan(with_settings(self._configuration, settings), self._corpus)
        runs = runs_of_fold(plan, fold)
        return list(await asyncio.gather(*(self._validate(trained_stages(plan, run)) for run in runs)))

    async def computed(self) -> list[str]:
        """Keys of the stages that were run here."""
        return list(self._computed)

    async def _validate(self, stages: list[Stage]) -> float:
        for stage in stages:
            await self._complete(stage)
        final = [stage for stage in stages if not any(stage.key in other.upstream for other in stages)]
        histories = [self._store.read_table(stage.key, "history") for stage in final]
        return float(np.mean([max(history["validation/ua"].to_pylist()) for history in histories]))

    async def _complete(self, stage: Stage) -> None:
        if stage.key not in self._running:
            self._running[stage.key] = asyncio.ensure_future(self._compute(stage))
        await asyncio.shield(self._running[stage.key])

    async def _compute(self, stage: Stage) -> None:
        if self._store.completed([stage.key]):
            return
        share: float | None = self._workers.share(stage)
        while share is not None:
            ((_, seconds),) = self._workers.submit([stage], [stage.upstream], share)
            try:
                await seconds
                break
            except RayError as error:
                share = self._workers.larger_share(share, error)
                if share is None:
                    raise
        self._computed.append(stage.key)
