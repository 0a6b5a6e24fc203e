"""`ifmmin track`: what the store holds, written to MLflow."""

from ifmmin.orchestrator.commands import options

EXAMPLE = "MLFLOW_TRACKING_URI=http://127.0.0.1:5000 ifmmin track paper"


def command(experiment: options.ExperimentName, storage: options.Storage = options.DEFAULT_STORAGE) -> None:
    """Write an experiment or a search from the store to MLflow, as far as it is missing there."""
    from rich.console import Console

    from ifmmin.orchestrator.analysis.experiment import analyse
    from ifmmin.orchestrator.experiment import Experiment
    from ifmmin.orchestrator.store import Store
    from ifmmin.orchestrator.workflows import load_complete, load_search, write_report, write_search_report

    console = Console(highlight=False)
    written, lost = [], []
    with console.status("writing to MLflow"):
        search = load_search(experiment, storage)
        if search is not None:
            lost.append(write_search_report(*search))
            written.append(f"{len(search[1].trials)} trials")
        if search is None or experiment in Store(storage).experiments():
            opened = Experiment.recorded(experiment, storage)
            analysis = analyse(opened, load_complete(opened))
            lost.append(write_report(analysis).lost)
            written.append(f"{len(analysis.results.runs)} runs")
    for sentence in filter(None, dict.fromkeys(lost)):
        console.print(f"[yellow]{sentence}[/]", soft_wrap=True)
    console.print(f"MLflow has {' and '.join(written)} of {experiment}: ifmmin ui {experiment}")
