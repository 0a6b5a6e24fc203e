"""Pages: self-contained HTML made from the templates beside this file."""

import base64
from importlib import resources

import jinja2

from ifmmin.orchestrator.reporting.drawing import Drawing
from ifmmin.orchestrator.reporting.tables import signed


def render(template: str, **values: object) -> str:
    """A page, from a template and what it shows."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    return environment.get_template(template).render(**values)


def embed(drawing: Drawing) -> dict[str, str]:
    """A drawing as templates take it."""
    return {"image": base64.b64encode(drawing.image).decode(), "caption": drawing.caption}


def _read(template: str) -> str:
    return (resources.files(__package__) / "templates" / template).read_text(encoding="utf-8")
