"""The systems that can be compared, by name. To add one: write its file, name it here."""

from model.recipe import Recipe, System
from model.systems import if_mmin

SYSTEMS: dict[str, System] = {system.name: system for system in (if_mmin.SYSTEM,)}

RECIPES: dict[str, Recipe] = {recipe.name: recipe for system in SYSTEMS.values() for recipe in system.recipes.values()}
