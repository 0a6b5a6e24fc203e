"""How `run` and `report` print the tables of an experiment."""

from rich.console import Console

from ifmmin.orchestrator.analysis.experiment import Analysis
from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.reporting import formats
from ifmmin.orchestrator.reporting.tables import is_grouped


def show_table(console: Console, analysis: Analysis) -> None:
    """Print the accuracies, how the systems differ, the answer in sentences, and how long each system took."""
    experiment = analysis.experiment
    title = f"{experiment.configuration.name} on {experiment.corpus.name}"
    console.print(formats.rich_table(analysis.summary, analysis.comparison, title=title, remarks=analysis.remarks))
    if is_grouped(analysis.summary):
        console.print()
        console.print(formats.rich_conditions(analysis.results.summary, analysis.comparison))
    if analysis.comparison:
        console.print()
        console.print(formats.rich_comparison(analysis.comparison))
        console.print()
    for sentence in analysis.headline.sentences:
        console.print(sentence, highlight=False)
    if analysis.headline.sentences:
        console.print(f"[dim]{analysis.headline.note}.[/]\n", highlight=False)
    if analysis.areas is not None:
        console.print(formats.rich_areas(analysis.areas))
        console.print()
    seconds = analysis.results.seconds.items()
    times = [f"{system} {in_words(run)} ({in_words(total)})" for system, (run, total) in seconds]
    console.print(f"Computing time on one worker, a run (all runs): {', '.join(times)}", highlight=False)
