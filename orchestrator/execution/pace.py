"""How long stages take, measured from earlier results and from epochs of running stages, to estimate the time left."""

from collections import defaultdict
from collections.abc import Iterable

from ifmmin.orchestrator.planning.plan import Plan
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store


class Pace:
    """Mean seconds of an epoch of each kind of training, and of each kind of evaluation.

    What was not measured yet is taken from `earlier`: the machine's speed now counts more than its speed then.
    """

    def __init__(self, earlier: "Pace | None" = None) -> None:
        self._earlier = earlier
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._units: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add(self, stage: Stage, seconds: float, epochs: int | None = None) -> None:
        """Learn from a whole stage, or from some epochs of one."""
        self._seconds[stage.action, stage.definition] += seconds
        self._units[stage.action, stage.definition] += epochs or stage.epochs or 1

    def expected(self, stage: Stage) -> float | None:
        """Seconds a stage should take on one worker, or None if no similar stage was measured."""
        units = self._units[stage.action, stage.definition]
        if not units:
            return self._earlier.expected(stage) if self._earlier else None
        return self._seconds[stage.action, stage.definition] / units * (stage.epochs or 1)

    def total(self, stages: Iterable[Stage]) -> float | None:
        """Seconds these stages should take one after the other; evaluations not seen yet count as nothing."""
        total = 0.0
        for stage in stages:
            expected = self.expected(stage)
            if expected is None and stage.action == "train":
                return None
            total += expected or 0.0
        return total


def earlier_pace(plan: Plan, store: Store) -> Pace:
    """The pace of earlier stages in the store, on any corpus; those of this plan's corpus alone where there are any."""
    fingerprints = {stage.corpus for stage in plan.stages.values()}
    kinds = {(stage.action, stage.definition) for stage in plan.stages.values()}
    same, other = Pace(), Pace()
    for key in store.stage_keys():
        record = store.read_record(key)
        stage = Stage.recorded(record["stage"])
        if (stage.action, stage.definition) in kinds:
            (same if stage.corpus in fingerprints else other).add(stage, record["seconds"])
    return Pace(same if same.total(plan.stages.values()) is not None else other)


def in_words(seconds: float) -> str:
    """A duration in words.

    >>> in_words(8), in_words(130), in_words(7300)
    ('8 s', '2 min 10 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
