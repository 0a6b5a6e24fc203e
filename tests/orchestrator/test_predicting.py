"""Predictions of new utterances by trained runs."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.commands.predict import command as predict
from ifmmin.orchestrator.experiment import Experiment
from tests.orchestrator.conftest import PROBABILITIES, assert_stored, inputs_of
from tests.small import ALL_CONDITIONS


@pytest.mark.parametrize(("name", "fold"), [("demo", 2), ("translated", 1)])
def test_the_test_rows_of_a_fold_by_its_run_are_the_stored_predictions_to_the_bit(
    trained: Experiment, tmp_path: Path, name: str, fold: int
) -> None:
    experiment = Experiment.recorded(name, trained.store.location)
    root, output = inputs_of(experiment.corpus, fold, tmp_path / "inputs"), tmp_path / "found.parquet"
    predict(name, root, output, fold=fold, seed=0, every_condition=True, storage=trained.store.location)
    assert_stored(pd.read_parquet(output), experiment, fold)


def test_what_is_missing_is_the_condition_and_all_runs_are_averaged(trained: Experiment, tmp_path: Path) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    names = [trained.corpus.names[row] for row in trained.corpus.folds[1].test]
    (root / "a" / f"{names[0]}.npy").unlink()
    (root / "t" / f"{names[0]}.npy").unlink()
    (root / "v" / f"{names[1]}.npy").unlink()
    location = trained.store.location
    predict("demo", root, tmp_path / "all.csv", storage=location)
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame["utterance"].tolist() == names
    assert frame["condition"].tolist() == ["v", "at", *["avt"] * (len(names) - 2)]
    np.testing.assert_allclose(frame[PROBABILITIES].sum(axis=1), 1, rtol=1e-5)
    single = []
    for fold in (1, 2, 3):
        predict("demo", root, tmp_path / "one.csv", fold=fold, storage=location)
        single.append(pd.read_csv(tmp_path / "one.csv")[PROBABILITIES].to_numpy())
    np.testing.assert_allclose(frame[PROBABILITIES].to_numpy(), np.mean(single, 0), rtol=1e-5)
    predict("demo", root, tmp_path / "every.csv", every_condition=True, storage=location)
    counts = pd.read_csv(tmp_path / "every.csv").groupby("utterance").size()
    assert [counts[name] for name in names[:3]] == [1, 3, len(ALL_CONDITIONS)]


def test_what_cannot_be_predicted_is_refused_in_one_sentence(trained: Experiment, tmp_path: Path) -> None:
    root, location = inputs_of(trained.corpus, 1, tmp_path / "inputs"), trained.store.location
    output = tmp_path / "o.csv"
    with pytest.raises(UserError, match=r"must end in \.csv or \.parquet"):
        predict("demo", root, tmp_path / "o.txt", storage=location)
    with pytest.raises(UserError, match="--system mmin: did you mean 'if-mmin'"):
        predict("demo", root, output, system="mmin", storage=location)
    with pytest.raises(UserError, match="has fold 9 and seed any"):
        predict("demo", root, output, fold=9, storage=location)
    with pytest.raises(UserError, match="cannot be written"):
        predict("demo", root, tmp_path / "none" / "o.csv", storage=location)
    for file in (root / "v").iterdir():
        np.save(file, np.zeros((3, 9)))
    with pytest.raises(UserError, match="modality v has 9 features; the trained runs expect 4"):
        predict("demo", root, output, storage=location)
    name = trained.corpus.names[trained.corpus.folds[1].test[0]]
    for modality in "avt":
        (root / modality / f"{name}.npy").unlink()
    with pytest.raises(UserError, match=f"{name} has no modality"):
        predict("demo", root, output, storage=location)
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"utterances\.csv is missing"):
        predict("demo", root, output, storage=location)
