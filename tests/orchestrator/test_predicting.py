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
    predict(name, output, root, fold=fold, seed=0, every_condition=True, storage=trained.store.location)
    assert_stored(pd.read_parquet(output), experiment, fold)


def test_what_is_missing_is_the_condition_and_all_runs_are_averaged(trained: Experiment, tmp_path: Path) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    names = [trained.corpus.names[row] for row in trained.corpus.folds[1].test]
    (root / "a" / f"{names[0]}.npy").unlink()
    (root / "t" / f"{names[0]}.npy").unlink()
    (root / "v" / f"{names[1]}.npy").unlink()
    location = trained.store.location
    predict("demo", tmp_path / "all.csv", root, storage=location)
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame["utterance"].tolist() == names
    assert frame["condition"].tolist() == ["v", "at", *["avt"] * (len(names) - 2)]
    np.testing.assert_allclose(frame[PROBABILITIES].sum(axis=1), 1, rtol=1e-5)
    single = []
    for fold in (1, 2, 3):
        predict("demo", tmp_path / "one.csv", root, fold=fold, storage=location)
        single.append(pd.read_csv(tmp_path / "one.csv")[PROBABILITIES].to_numpy())
    np.testing.assert_allclose(frame[PROBABILITIES].to_numpy(), np.mean(single, 0), rtol=1e-5)
    predict("demo", tmp_path / "every.csv", root, every_condition=True, storage=location)
    counts = pd.read_csv(tmp_path / "every.csv").groupby("utterance").size()
    assert [counts[name] for name in names[:3]] == [1, 3, len(ALL_CONDITIONS)]


def test_what_cannot_be_predicted_is_refused_in_one_sentence(trained: Experiment, tmp_path: Path) -> None:
    root, location = inputs_of(trained.corpus, 1, tmp_path / "inputs"), trained.store.location
    output = tmp_path / "o.csv"
    with pytest.raises(UserError, match=r"must end in \.csv or \.parquet"):
        predict("demo", tmp_path / "o.txt", root, storage=location)
    with pytest.raises(UserError, match="--system mmin: did you mean 'if-mmin'"):
        predict("demo", output, root, system="mmin", storage=location)
    with pytest.raises(UserError, match="has fold 9 and seed any"):
        predict("demo", output, root, fold=9, storage=location)
    with pytest.raises(UserError, match="cannot be written"):
        predict("demo", tmp_path / "none" / "o.csv", root, storage=location)
    for file in (root / "v").iterdir():
        np.save(file, np.zeros((3, 9)))
    with pytest.raises(UserError, match="modality v has 9 features; the trained runs expect 4"):
        predict("demo", output, root, storage=location)
    shutil.rmtree(root)
    with pytest.raises(UserError, match="is not a folder"):
        predict("demo", output, root, storage=location)


def test_an_utterance_without_any_modality_is_left_out_and_named(
    trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, location = inputs_of(trained.corpus, 1, tmp_path / "inputs"), trained.store.location
    names = [trained.corpus.names[row] for row in trained.corpus.folds[1].test]
    predict("demo", tmp_path / "all.csv", root, storage=location)
    assert "Left out" not in capsys.readouterr().out
    for modality in "avt":
        (root / modality / f"{names[2]}.npy").unlink()
        np.save(root / modality / f"{names[4]}.npy", np.zeros((0, 5)))
    predict("demo", tmp_path / "some.csv", root, storage=location)
    assert f"Left out for lack of any modality: {names[2]}, {names[4]}." in capsys.readouterr().out
    everything, some = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("all", "some"))
    others = everything[~everything["utterance"].isin([names[2], names[4]])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, others, check_exact=True)
    for modality in "avt":
        shutil.rmtree(root / modality)
    with pytest.raises(UserError, match="No utterance has a modality") as caught:
        predict("demo", tmp_path / "none.csv", root, storage=location)
    assert all(name in str(caught.value) for name in names)
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize("empty", [np.zeros((0, 4), np.float32), np.zeros(0)])
def test_a_file_without_frames_is_a_missing_modality(trained: Experiment, tmp_path: Path, empty: np.ndarray) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    names = [trained.corpus.names[row] for row in trained.corpus.folds[1].test]
    np.save(root / "v" / f"{names[1]}.npy", empty)
    predict("demo", tmp_path / "o.csv", root, storage=trained.store.location)
    assert pd.read_csv(tmp_path / "o.csv")["condition"].tolist()[:3] == ["avt", "at", "avt"]


def test_damaged_features_are_refused_with_all_utterances_that_have_them(trained: Experiment, tmp_path: Path) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    names = [trained.corpus.names[row] for row in trained.corpus.folds[1].test]
    for name, modality, value in ((names[1], "a", np.nan), (names[3], "a", -np.inf), (names[3], "t", np.nan)):
        values = np.load(root / modality / f"{name}.npy")
        values[0, 0] = value
        np.save(root / modality / f"{name}.npy", values)
    with pytest.raises(UserError, match=f"{names[1]} in a, {names[3]} in a and t; fix them"):
        predict("demo", tmp_path / "o.csv", root, storage=trained.store.location)


def test_one_file_of_another_width_is_named(trained: Experiment, tmp_path: Path) -> None:
    root = inputs_of(trained.corpus, 1, tmp_path / "inputs")
    name = trained.corpus.names[trained.corpus.folds[1].test[1]]
    np.save(root / "v" / f"{name}.npy", np.zeros((3, 9)))
    with pytest.raises(UserError, match=rf"features of modality v.*\({name}\)"):
        predict("demo", tmp_path / "o.csv", root, storage=trained.store.location)
