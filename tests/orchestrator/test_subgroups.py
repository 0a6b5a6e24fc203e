from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ifmmin.data.corpus import Corpus
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy
from ifmmin.orchestrator.analysis.subgroups import score_subgroups, subgroup_columns
from tests.small import make_corpus

COUNT = 240


def corpus(speakers: int = 12) -> Corpus:
    """Speakers of two genders, and utterances of two kinds by every speaker."""
    small = make_corpus(utterances=COUNT)
    speaker = [f"speaker {index % speakers:02}" for index in range(COUNT)]
    columns = {
        "speaker": speaker,
        "gender": ["female" if int(name[-2:]) % 2 else "male" for name in speaker],
        "kind": ["scripted" if index // speakers % 2 else "improvised" for index in range(COUNT)],
        "note": [f"note {index}" for index in range(COUNT)],
        "constant": ["same"] * COUNT,
    }
    table = small.utterances
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return replace(small, utterances=table)


def predictions(people: Corpus, predicted: np.ndarray, condition: str = "avt") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": "s",
            "condition": condition,
            "utterance": people.names,
            "label": people.labels,
            "prediction": predicted,
        }
    )


def wrong_for_women(people: Corpus) -> np.ndarray:
    """Right for men; for women class 0 is always taken for class 1."""
    women = np.array(people.utterances["gender"].to_pylist()) == "female"
    return np.where(women & (people.labels == 0), 1, people.labels)


def test_subgroups_are_columns_with_a_few_words() -> None:
    assert subgroup_columns(corpus()) == ["speaker", "gender", "kind"]
    assert "speaker" not in subgroup_columns(corpus(speakers=24))


def test_scores_are_those_of_the_subgroups_utterances_alone() -> None:
    people = corpus()
    predicted = np.random.default_rng(1).integers(3, size=COUNT)
    scores, _ = score_subgroups(predictions(people, predicted), people)
    for column in ("speaker", "gender", "kind"):
        for subgroup in set(people.utterances[column].to_pylist()):
            rows = np.array(people.utterances[column].to_pylist()) == subgroup
            for metric, score in (("wa", weighted_accuracy), ("ua", unweighted_accuracy)):
                chosen = scores.set_index(["column", "subgroup", "metric"]).to_dict("index")[column, subgroup, metric]
                assert chosen["value"] == pytest.approx(score(people.labels[rows], predicted[rows]))
                assert chosen["utterances"] == rows.sum()
                assert chosen["low"] <= chosen["value"] <= chosen["high"]


def test_gaps_are_what_one_gets_by_hand() -> None:
    people = corpus()
    _, gaps = score_subgroups(predictions(people, wrong_for_women(people)), people)
    values = gaps[gaps["column"] == "gender"].set_index("gap")["value"]
    women = np.array(people.utterances["gender"].to_pylist()) == "female"
    of_women, of_men = (
        np.bincount(wrong_for_women(people)[rows], minlength=3) / rows.sum() for rows in (women, ~women)
    )
    assert values["recall gap"] == pytest.approx(1 / 3)
    assert values["equal opportunity difference"] == pytest.approx(1)
    assert values["statistical parity difference"] == pytest.approx(np.abs(of_women - of_men).max())


def test_intervals_are_over_speakers_where_each_subgroup_has_several() -> None:
    people = corpus()
    good = np.array([int(str(name)[-2:]) < 6 for name in people.speakers or []])
    predicted = np.where(good, people.labels, (people.labels + 1) % 3)  # all of a speaker is right, or all is wrong
    scores, gaps = score_subgroups(predictions(people, predicted), people)
    assert gaps.groupby("column")["resampled"].first().to_dict() == {
        "speaker": "utterances",
        "gender": "speakers",
        "kind": "speakers",
    }
    male = scores.query("subgroup == 'male' and metric == 'wa'").iloc[0]
    assert male["speakers"] == 6
    # Six speakers, each all right or all wrong: far less is known than 120 utterances would tell (about ±0.09).
    assert male["high"] - male["low"] > 0.6


def test_without_speakers_utterances_are_resampled() -> None:
    people = corpus()
    people = replace(people, utterances=people.utterances.drop_columns(["speaker"]))
    _, gaps = score_subgroups(predictions(people, people.labels), people)
    assert set(gaps["resampled"]) == {"utterances"}


def test_unknown_speakers_are_not_one_speaker() -> None:
    people = corpus()
    names = [None if name in ("speaker 00", "speaker 01") else name for name in people.speakers or []]
    place = people.utterances.column_names.index("speaker")
    people = replace(people, utterances=people.utterances.set_column(place, "speaker", pa.array(names)))
    scores, _ = score_subgroups(predictions(people, people.labels), people)
    assert scores[scores["column"] == "gender"]["speakers"].tolist() == [5, 5, 5, 5]
    assert scores[scores["column"] == "gender"]["utterances"].sum() == 2 * len(people)


def test_only_subgroups_that_were_predicted_count_in_natural_order() -> None:
    people = corpus()
    names = [f"speaker {int(str(name)[-2:])}" for name in people.speakers or []]
    place = people.utterances.column_names.index("speaker")
    people = replace(people, utterances=people.utterances.set_column(place, "speaker", pa.array(names)))
    women = [name in ("speaker 3", "speaker 9", "speaker 11") for name in names]
    scores, gaps = score_subgroups(predictions(people, people.labels)[women], people)
    assert list(dict.fromkeys(scores[scores["column"] == "speaker"]["subgroup"])) == [
        "speaker 3",
        "speaker 9",
        "speaker 11",
    ]
    assert set(gaps["column"]) == set(scores["column"]) == {"speaker", "kind"}
    assert set(scores[scores["column"] == "kind"]["speakers"]) == {3}
    assert scores.notna().all().all()
