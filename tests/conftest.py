import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# One thread, as in the stages themselves: tests that share the machine's cores would else wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Not on a cluster that happens to run on this machine.
os.environ["RAY_ADDRESS"] = "local"

# A pause on a busy machine is not an error.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that none of them is left over when the rest is done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _no_systems_are_left() -> Iterator[None]:
    """What a test adds to the systems is gone after it."""
    module = sys.modules.get("ifmmin.model.systems")
    before = set(module.SYSTEMS) if module else None
    planning = sys.modules.get("ifmmin.orchestrator.planning.catalogue")
    outside = dict(planning._OUTSIDE) if planning else {}
    yield
    planning = sys.modules.get("ifmmin.orchestrator.planning.catalogue")
    if planning:
        planning._OUTSIDE.clear()
        planning._OUTSIDE.update(outside)
        planning._catalogue.cache_clear()
    module = sys.modules.get("ifmmin.model.systems")
    if module is None:
        return
    kept = module._SHIPPED if before is None else before
    for name in module.SYSTEMS.keys() - kept:
        del module.SYSTEMS[name]
        module.LOADED.pop(name, None)
    definitions = {name for system in module.SYSTEMS.values() for name in (d.name for d in system.stages.values())}
    for name in module.DEFINITIONS.keys() - definitions:
        del module.DEFINITIONS[name]
