"""The actor through which the trials of a search ask for scores and the driver answers; it computes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.search.trials import SearchError


@dataclass(frozen=True)
class Question:
    """A trial asks for the scores of its hyperparameters on a fold."""

    number: int
    hyperparameters: Mapping[str, HyperparameterValue]
    fold: int


@ray.remote(num_cpus=0)
class Desk:
    """Trials call `validate`; the driver takes `questions` and sends each an `answer` or a `refusal`."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[Question] = asyncio.Queue()
        self._answers: list[asyncio.Future[Sequence[float]]] = []

    async def validate(self, hyperparameters: Mapping[str, HyperparameterValue], fold: int) -> Sequence[float]:
        """Validation UA of the selected epoch, from 0 to 1, of every seed of a fold.

        Raises:
            SearchError: a stage has failed.
        """
        answer: asyncio.Future[Sequence[float]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        await self._questions.put(Question(len(self._answers) - 1, hyperparameters, fold))
        return await answer

    async def questions(self) -> list[Question]:
        """The questions since the last call; waits until there is one."""
        waiting = [await self._questions.get()]
        while not self._questions.empty():
            waiting.append(self._questions.get_nowait())
        return waiting

    async def answer(self, number: int, scores: Sequence[float]) -> None:
        """Send a question's trial its scores."""
        self._answers[number].set_result(scores)

    async def refuse(self, number: int, reason: str) -> None:
        """Raise an error with this reason in a question's trial."""
        self._answers[number].set_exception(SearchError(reason))
