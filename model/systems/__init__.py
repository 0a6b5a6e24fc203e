"""The systems that can be compared, by name. To add one, write its module and list it here, or call `register`.

Those that `--systems` names by their files are loaded by `load_program`.
"""

from ifmmin.data.errors import UserError
from ifmmin.model.checks import check_system
from ifmmin.model.definition import StageDefinition, System
from ifmmin.model.plain import system_in
from ifmmin.model.program import Program, load_module
from ifmmin.model.systems import cif_mmin, full_modality, if_mmin, if_mmin_ablations, mctn, mmin, momke, transformer

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        full_modality.FUSION_SYSTEM,
        full_modality.AUGMENTED_SYSTEM,
        mctn.SYSTEM,
        transformer.SYSTEM,
        momke.SYSTEM,
        mmin.WITHOUT_CYCLE_SYSTEM,
        mmin.MMIN_SYSTEM,
        if_mmin_ablations.WITHOUT_INVARIANCE_SYSTEM,
        if_mmin_ablations.UNCASCADED_SYSTEM,
        if_mmin.SYSTEM,
        cif_mmin.SYSTEM,
    )
}

DEFINITIONS: dict[str, StageDefinition] = {
    definition.name: definition for system in SYSTEMS.values() for definition in system.stages.values()
}
"""The stage definitions of all systems, by name."""

REFERENCE = "if-mmin"
"""The system that the others are compared with."""

_SHIPPED = frozenset(SYSTEMS)

LOADED: dict[str, Program] = {}
"""The programs that systems were loaded from, by the names of the systems."""


def register(system: System) -> System:
    """Check a system and add it to those that can be compared; one of the same name that was registered is replaced.

    Raises:
        UserError: it does not meet the framework's assumptions, or a name is taken.
    """
    check_system(system)
    if system.name in _SHIPPED:
        raise UserError(f"A system '{system.name}' already exists; choose another name.")
    others = [other for name, other in SYSTEMS.items() if name != system.name]
    taken = {definition.name: definition for other in others for definition in other.stages.values()}
    for definition in system.stages.values():
        if taken.get(definition.name, definition) is not definition:
            raise UserError(
                f"{system.name}: another stage definition is called '{definition.name}'; choose another name."
            )
    SYSTEMS[system.name] = system
    DEFINITIONS.update({definition.name: definition for definition in system.stages.values()})
    return system


def load_program(program: Program) -> System:
    """The system of a program, registered in this process.

    Raises:
        UserError: the program raises an error or has no system, or the system cannot be registered.
    """
    for name, loaded in LOADED.items():
        if loaded == program:
            return SYSTEMS[name]
    system = register(system_in(load_module(program), program))
    LOADED[system.name] = program
    return system
