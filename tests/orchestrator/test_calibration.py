import numpy as np
import pandas as pd
import pytest

from ifmmin.orchestrator.analysis.calibration import calibrate, expected_calibration_error


def predictions(rows: list[tuple[float, bool]], condition: str = "a") -> pd.DataFrame:
    """A row for each confidence (of class 1, of two) and whether that was right."""
    return pd.DataFrame(
        {
            "system": "s",
            "condition": condition,
            "label": [1 if right else 0 for _, right in rows],
            "prediction": 1,
            "probabilities": [np.array([1 - p, p], np.float32) for p, _ in rows],
        }
    )


def test_the_error_is_what_one_gets_by_hand() -> None:
    # Bins (11/15, 12/15] and (14/15, 1]: |0.75 - 0.5| for 2 of 5 utterances, |0.96 - 2/3| for 3 of 5.
    frame = predictions([(0.74, True), (0.76, False), (0.96, True), (0.95, True), (0.97, False)])
    bins = calibrate(frame)
    assert bins["utterances"].tolist() == [2, 3]
    assert bins["bin"].tolist() == pytest.approx([12 / 15, 1])
    expected = 2 / 5 * 0.25 + 3 / 5 * (0.96 - 2 / 3)
    assert expected_calibration_error(bins).loc["s", "a"] == pytest.approx(expected, abs=1e-6)


def test_who_is_right_as_often_as_sure_has_hardly_an_error() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 20_000)
    frame = predictions(list(zip(sure, rng.random(20_000) < sure, strict=True)))
    assert expected_calibration_error(calibrate(frame)).loc["s", "a"] == pytest.approx(0, abs=0.015)


def test_conditions_are_kept_apart() -> None:
    frame = pd.concat([predictions([(0.9, True)] * 10), predictions([(0.9, False)] * 10, "avt")])
    errors = expected_calibration_error(calibrate(frame)).loc["s"]
    assert errors["a"] == pytest.approx(0.1, abs=1e-6)
    assert errors["avt"] == pytest.approx(0.9, abs=1e-6)
    assert list(errors.index) == ["a", "avt"]
