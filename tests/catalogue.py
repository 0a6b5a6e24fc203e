"""Writes `model/systems/catalogue.json`: the systems as they are released, and the versions of their code.

    python -m tests.catalogue

Run it after any change of `model/` or `data/`. Where the numbers of two epochs on a small corpus differ from those
of the version in the file, it asks for a raised version and writes nothing: people's stores hold results of that code.
"""

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from ifmmin.model import evaluation, protocols
from ifmmin.model.source import source_hash
from ifmmin.model.systems import DEFINITIONS, REFERENCE, SYSTEMS
from ifmmin.orchestrator.execution.stages import execute
from ifmmin.orchestrator.planning import catalogue
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import make_plan, protocol_plan
from ifmmin.orchestrator.planning.stage import Stage
from ifmmin.orchestrator.store import Store
from tests.small import make_corpus

TOLERANCE = 1e-4
"""Machines differ by rounding; a change of what is computed differs by more."""

Numbers = Mapping[str, Sequence[float]]


def compute_numbers() -> Numbers:
    """Losses of two epochs of every stage definition, and confidences of evaluations, by name of the code and more."""
    corpus = make_corpus()
    hyperparameters = {"epochs": 2, "batch_size": 8, "steps": 4}
    changes = {"systems": list(SYSTEMS), "folds": "1", "hyperparameters": hyperparameters}
    plan = make_plan(load_configuration("paper", {**changes, "seeds": "0"}), corpus)
    reference = [run for run in plan.runs if run.system == REFERENCE]
    evaluations = protocol_plan(plan, reference, list(protocols.PROTOCOLS))
    numbers: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for stage in [*plan.stages.values(), *evaluations.stages.values()]:
            result = execute(stage, corpus, store.read_upstream(stage))
            store.write_stage(stage, result)
            if stage.action == "train":
                numbers[stage.definition] += result.tables["history"]["loss/total"].to_pylist()
            else:
                probabilities = np.stack(result.tables["predictions"]["probabilities"].to_pylist())
                numbers[_name(stage)].append(float(probabilities.max(1).mean()))
    return numbers


def code() -> dict[str, dict[str, Any]]:
    """By name of the code: its version and the hash of its source."""
    sources = {name: (known.version, catalogue.modules_of(known)) for name, known in DEFINITIONS.items()}
    sources["evaluation"] = evaluation.EVALUATION_VERSION, set(catalogue.EVALUATION)
    sources["protocol"] = protocols.PROTOCOL_VERSION, set(catalogue.PROTOCOLS)
    return {name: {"version": version, "source": source_hash(modules)} for name, (version, modules) in sources.items()}


def released() -> dict[str, Any]:
    """What the file holds."""
    content: dict[str, Any] = json.loads(Path(str(catalogue.FILE)).read_text(encoding="utf-8"))
    return content


def changed(numbers: Numbers, kept: Mapping[str, Any]) -> list[str]:
    """The names of code whose numbers differ from those in the file though its version is the same."""
    now = code()
    return [
        name
        for name, values in numbers.items()
        if name in kept["numbers"]
        and now[_code(name)]["version"] == kept["code"][_code(name)]["version"]
        and not same(values, kept["numbers"][name])
    ]


def same(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two lists of numbers agree but for rounding."""
    return len(first) == len(second) and all(
        isclose(one, other, rel_tol=TOLERANCE) for one, other in zip(first, second, strict=True)
    )


def _name(stage: Stage) -> str:
    return f"protocol {stage.protocol}" if stage.protocol else f"evaluation of {stage.definition}"


def _code(name: str) -> str:
    """The name of the code that has computed these numbers."""
    return name.partition(" ")[0]


def main() -> None:
    numbers = compute_numbers()
    file = Path(str(catalogue.FILE))
    if file.is_file() and (names := changed(numbers, released())):
        sys.exit(
            f"Raise the version of {', '.join(names)}: the numbers are no longer those of the version in {file.name}."
        )
    versions = code()
    content = {
        "source": catalogue.source_of_all(),
        "catalogue": catalogue.to_json(catalogue.describe(versions)),
        "code": versions,
        "numbers": {name: [round(value, 6) for value in values] for name, values in sorted(numbers.items())},
    }
    file.write_text(json.dumps(content, indent=1, sort_keys=False) + "\n", encoding="utf-8")
    shown = ", ".join(f"{name} {entry['version']}" for name, entry in versions.items())
    print(f"Wrote {file.name}: {shown}.")


if __name__ == "__main__":
    main()
