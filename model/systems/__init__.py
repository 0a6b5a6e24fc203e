"""The systems that can be compared, by name. To add one: write its file, name it here."""

from ifmmin.model.definition import StageDefinition, System
from ifmmin.model.systems import full_modality, if_mmin, if_mmin_ablations, mctn, mmin

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        full_modality.FUSION_SYSTEM,
        full_modality.AUGMENTED_SYSTEM,
        mctn.SYSTEM,
        mmin.WITHOUT_CYCLE_SYSTEM,
        mmin.MMIN_SYSTEM,
        if_mmin_ablations.WITHOUT_INVARIANCE_SYSTEM,
        if_mmin_ablations.UNCASCADED_SYSTEM,
        if_mmin.SYSTEM,
    )
}

DEFINITIONS: dict[str, StageDefinition] = {
    definition.name: definition for system in SYSTEMS.values() for definition in system.stages.values()
}
"""The stage definitions of all systems, by name."""

REFERENCE = "if-mmin"
"""The system that the others are compared with."""
