"""A store in a bucket, on a server that speaks S3."""

import logging
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ifmmin.data.catalogue import corpus_names, folder_for
from ifmmin.data.corpus import write_corpus
from ifmmin.data.errors import UserError
from ifmmin.data.folder import Folder
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.store import Store
from tests.chaos import bits
from tests.commandline import RUN, call
from tests.orchestrator.conftest import run_in_this_process
from tests.small import make_corpus

BUCKET = "s3://emotions/ifmmin"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    boto3.client("s3").create_bucket(Bucket="emotions")
    yield server
    server.stop()


def test_an_experiment_in_a_bucket_gives_the_same_bits(server: ThreadedMotoServer, tmp_path: Path) -> None:
    write_corpus(make_corpus(), folder_for("small", BUCKET))
    assert corpus_names(BUCKET) == ["digits", "small"]
    status, output, errors = call(tmp_path, *RUN, "--storage", BUCKET)
    assert status == 0, errors
    assert "9 stages run" in output
    assert f"Report: {BUCKET}/reports/demo/report.html" in output
    status, output, errors = call(tmp_path, "status", "demo", "--storage", BUCKET)
    assert "9 of 9 stages are done" in output, errors

    experiment = Experiment.recorded("demo", BUCKET)
    run_in_this_process(experiment.plan, experiment.corpus, Store(tmp_path / "alone"))
    assert bits(experiment.plan, experiment.store) == bits(experiment.plan, Store(tmp_path / "alone"))

    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert written == []  # neither in MLflow nor in a log
    assert not (tmp_path / "ifmmin-store").exists()

    server.stop()
    with pytest.raises(UserError, match=f"{BUCKET}.* cannot be read"):
        corpus_names(BUCKET)


@pytest.mark.usefixtures("server")
def test_many_files_of_a_bucket_are_found_as_few_are() -> None:
    folder = Folder("s3://emotions/many")
    assert folder.present(f"{number}/x" for number in range(30)) == set()
    for number in range(0, 30, 7):
        folder.write(f"{number}/x", b"")
    assert folder.present(f"{number}/x" for number in range(30)) == {f"{number}/x" for number in range(0, 30, 7)}
    assert folder.names() == ["0", "14", "21", "28", "7"]
    folder.delete("7/x")
    assert folder.present(["0/x", "7/x"]) == {"0/x"}
