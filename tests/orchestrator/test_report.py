"""The report: slow for its figures, so one of two systems is made for all tests."""

import re
import shutil
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ifmmin.data.audit import audit
from ifmmin.data.errors import UserError
from ifmmin.model.definition import Embedding
from ifmmin.model.protocols import PROTOCOLS
from ifmmin.model.systems import register
from ifmmin.orchestrator.analysis.experiment import Analysis, analyse
from ifmmin.orchestrator.analysis.results import load_results
from ifmmin.orchestrator.analysis.robustness import areas
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import load_configuration
from ifmmin.orchestrator.planning.plan import make_plan, protocol_plan
from ifmmin.orchestrator.reporting.report import Report, make_report, report_files, report_of
from ifmmin.orchestrator.store import Store, StoreError
from ifmmin.orchestrator.workflows import choose_runs, load_complete
from tests.model.newcomers import EXPERTS
from tests.orchestrator.conftest import run_in_this_process
from tests.small import ALL_CONDITIONS


@pytest.fixture(scope="module")
def compared(finished_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """IF-MMIN and a baseline, of which one run is not complete."""
    store = Store(shutil.copytree(finished_experiment.store.location, tmp_path_factory.mktemp("compared") / "store"))
    changes = {
        "systems": ["fusion", "if-mmin"],
        "hyperparameters": {"epochs": 2},
        "folds": "1-3",
        "storage": store.location,
    }
    configuration = load_configuration("demo", changes)
    plan = make_plan(configuration, finished_experiment.corpus)
    first_two = replace(plan, stages={k: s for k, s in plan.stages.items() if s.fold < 3})
    run_in_this_process(first_two, finished_experiment.corpus, store)
    return replace(finished_experiment, configuration=configuration, plan=plan, store=store)


def analysis_of(experiment: Experiment, *against: str) -> Analysis:
    results = load_results(experiment.plan, experiment.store, experiment.corpus.letters)
    assert results is not None
    return analyse(experiment, results, against)


@pytest.fixture(scope="module")
def report(compared: Experiment) -> Report:
    return make_report(analysis_of(compared))


@pytest.fixture(scope="module")
def files(report: Report) -> dict[str, bytes]:
    return report_files(report)


class Outline(HTMLParser):
    """Headings, images and whether every element that is opened is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.images: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def test_the_page_is_complete_and_needs_no_other_file(files: dict[str, bytes]) -> None:
    text = files["report.html"].decode()
    page = Outline(text)
    assert page.open == []
    assert page.headings == [
        "demo on small",
        "Accuracy in each condition",
        "Differences from if-mmin",
        "Figures",
        "Calibration",
        "Each system",
        "How each number was made",
        "The corpus",
        "Configuration and versions",
    ]
    assert len(page.images) == 13  # four that compare, three of each system, three of the corpus
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_page_says_what_is_complete_how_it_was_made_and_what_the_audit_said(
    compared: Experiment, files: dict[str, bytes]
) -> None:
    text = files["report.html"].decode()
    messages = [escape(finding.message) for finding in audit(compared.corpus)]
    assert messages
    for expected in ("5 of 6 runs complete", "torch 2.13", "lambda2", "epochs: 2", *messages):
        assert expected in text


def test_the_page_opens_with_the_answer(compared: Experiment, files: dict[str, bytes]) -> None:
    answer = analysis_of(compared).headline
    assert len(answer.sentences) == 3
    text = files["report.html"].decode()
    before_the_first_table = text[: text.index("<table")]
    assert all(escape(sentence) in before_the_first_table for sentence in (*answer.sentences, answer.note))


def test_results_of_earlier_code_are_not_called_missing(compared: Experiment, tmp_path: Path) -> None:
    experiment = replace(compared, store=Store(tmp_path))
    with pytest.raises(StoreError, match="No run of experiment 'demo' is complete yet; run it first"):
        load_complete(experiment)
    experiment.store.write_report("demo", {"report.html": b"page"}, "earlier")
    for ask in (load_complete, lambda experiment: choose_runs(experiment, None, None, None)):
        with pytest.raises(StoreError, match="earlier version of the code or of its corpus; run it again"):
            ask(experiment)


def test_there_are_tables_and_figures_for_papers_and_programs(files: dict[str, bytes]) -> None:
    tables = {"report.html", "table.md", "table.tex", "table.csv", "times.csv", "comparison.csv", "calibration.csv"}
    shared = {"scores_by_condition", "cost_of_missing_modalities", "invariance_curve", "invariant_features"}
    drawn = ("confusion_matrices", "reliability_diagrams", "loss_curves")
    of_systems = {f"{system}/{name}" for system in ("fusion", "if-mmin") for name in drawn}
    of_corpus = {f"corpus/{name}" for name in ("lengths", "classes_by_set", "components_by_class")}
    names = shared | of_systems | of_corpus
    assert set(files) == tables | {f"figures/{name}.{kind}" for name in names for kind in ("png", "pdf")}


def test_the_numbers_are_those_of_the_results(compared: Experiment, files: dict[str, bytes]) -> None:
    analysis = analysis_of(compared)
    text = files["report.html"].decode()
    for mean in 100 * analysis.results.summary["wa"].astype(float):
        assert f"{mean:.1f}" in text
    assert analysis.comparison is not None
    assert set(analysis.comparison.frame["runs"]) == {2}  # those of the baseline
    assert analysis.share == pytest.approx(1)  # the small corpus has three equal sets


def test_another_reference_is_another_report(compared: Experiment) -> None:
    usual, other = analysis_of(compared), analysis_of(compared, "fusion")
    assert usual.identity == analysis_of(compared).identity != other.identity
    assert other.comparison is not None
    assert (other.comparison.reference, set(other.comparison.frame["system"])) == ("fusion", {"if-mmin"})
    assert other.summary.equals(usual.summary)


@pytest.mark.slow  # for its figures
def test_one_system_is_compared_with_none(finished_experiment: Experiment) -> None:
    analysis = analysis_of(finished_experiment)
    assert analysis.comparison is None
    assert 'id="differences"' not in report_files(make_report(analysis))["report.html"].decode()


def test_the_report_of_one_system_has_the_figures_that_the_whole_report_has_of_it(
    report: Report,
) -> None:
    alone = report_of(report, "fusion")
    assert alone.of_systems == {"fusion": report.of_systems["fusion"]}
    assert alone.analysis.results.systems == ["fusion"]
    assert alone.analysis.comparison is None
    assert set(alone.details.calibration["system"]) == {"fusion"}
    assert alone.details.embeddings == []


@pytest.mark.parametrize(
    ("against", "expected"),
    [("if-mmn", "--against if-mmn: did you mean 'if-mmin'"), ("published", "are for IEMOCAP with four classes")],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(compared: Experiment, against: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        analysis_of(compared, against)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_times_count_every_stage_of_a_run(compared: Experiment) -> None:
    results = load_results(compared.plan, compared.store, compared.corpus.letters)
    assert results is not None
    for system, (run_seconds, total) in results.seconds.items():
        runs = [run for run in results.runs if run.system == system]
        seconds = [compared.store.read_record(key)["seconds"] for run in runs for key in run.stages.values()]
        assert total == pytest.approx(sum(seconds))
        assert run_seconds == pytest.approx(total / len(runs))


def test_a_report_is_kept_with_what_it_is_a_report_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.report_identity("demo") is None
    store.write_report("demo", {"report.html": b"page", "figures/one.png": b"figure"}, "abc")
    assert store.report_identity("demo") == "abc"
    folder = Path(store.location) / "reports" / "demo"
    assert str(folder / "report.html") == store.report_location("demo")
    assert (folder / "figures" / "one.png").read_bytes() == b"figure"


@pytest.mark.slow  # for its evaluations and figures
def test_protocols_that_are_complete_are_in_the_report_and_agree_with_the_table(
    compared: Experiment, tmp_path: Path
) -> None:
    store = Store(shutil.copytree(compared.store.location, tmp_path / "store"))
    compared = replace(compared, store=store)
    before = analysis_of(compared)
    assert before.protocols == ()
    assert before.areas is None
    plan = protocol_plan(compared.plan, before.results.runs, list(PROTOCOLS))
    assert len(plan.stages) == 3 * len(before.results.runs)
    run_in_this_process(plan, compared.corpus, compared.store)
    analysis = analysis_of(compared)
    assert analysis.protocols == tuple(PROTOCOLS)
    assert analysis.identity != before.identity
    assert analysis.curves is not None
    assert analysis.areas is not None
    run, full = ["system", "fold", "seed"], analysis.results.scores.query("condition == 'avt'")
    for protocol in PROTOCOLS:
        at_zero = analysis.curves[(analysis.curves["protocol"] == protocol) & (analysis.curves["rate"] == 0)]
        both = at_zero.merge(full, on=run, suffixes=("", "_table"))
        assert len(both) == len(before.results.runs)
        assert (both["wa"] == both["wa_table"]).all()
        assert (both["ua"] == both["ua_table"]).all()
    one = analysis.curves[(analysis.curves["protocol"] == "frame-block") & (analysis.curves["system"] == "fusion")]
    values = one[one["fold"] == 1]["wa"].to_numpy()
    by_hand = (values[0] / 2 + values[1:-1].sum() + values[-1] / 2) / 9
    area = areas(analysis.curves).query("system == 'fusion' and fold == 1 and condition == 'frame-block'")["wa"].item()
    assert area == pytest.approx(by_hand)
    report = make_report(analysis)
    files = report_files(report)
    assert {"areas.csv", "curves.csv", "figures/robustness_curves.png"} <= files.keys()
    assert "Robustness" in Outline(files["report.html"].decode()).headings
    assert report_of(report, "fusion").analysis.curves is not None
    with pytest.raises(UserError, match="no protocol 'random-modalities'"):
        protocol_plan(compared.plan, before.results.runs, ["random-modalities"])


@pytest.mark.slow  # for its figures
@pytest.mark.usefixtures("newcomers")
def test_a_system_with_a_pretraining_for_each_condition_has_a_report_with_its_losses_and_features(
    finished_experiment: Experiment, tmp_path: Path
) -> None:
    logits = Embedding(
        "Gated logits", "logits", lambda networks, batch: networks["train"].logits(batch, ALL_CONDITIONS)
    )
    register(replace(EXPERTS, name="gated", featured_loss="error", embedding=logits))
    changes = {"systems": ["gated"], "hyperparameters": {"epochs": 1, "batch_size": 8}, "folds": "1"}
    configuration = load_configuration("demo", changes)
    plan = make_plan(configuration, finished_experiment.corpus)
    experiment = replace(finished_experiment, configuration=configuration, plan=plan, store=Store(tmp_path))
    run_in_this_process(plan, experiment.corpus, experiment.store)
    report = make_report(analysis_of(experiment))
    assert [drawing.name for drawing in report.drawings[2:]] == ["error_curve", "gated_logits"]
    losses = report.of_systems["gated"][-1].figure
    assert [panel.get_title() for panel in losses.axes] == [
        "gated: expert-a",
        "gated: expert-v",
        "gated: expert-t",
        "gated: train",
    ]
    assert "figures/gated_logits.png" in report_files(report)
