import torch
from hypothesis import given
from hypothesis import strategies as st

from ifmmin.data.dialogues import Dialogues


def test_a_dialogue_is_in_the_order_of_its_turns() -> None:
    dialogues = Dialogues.of(["x", "y", "x", "x"], [3, 1, 1, 2])
    assert len(dialogues) == 2
    assert dialogues.rows(torch.tensor([0])).tolist() == [2, 3, 0]
    assert dialogues.rows(torch.tensor([1, 0])).tolist() == [1, 2, 3, 0]


def test_an_utterance_without_a_dialogue_is_one_by_itself() -> None:
    dialogues = Dialogues.of(["x", None, "x", "", None])
    assert dialogues.number.tolist() == [0, 1, 0, 2, 3]


def test_places_in_a_batch_follow_its_rows_and_padding_is_undone() -> None:
    dialogues = Dialogues.of(["x", "y", "x", "x", "y"])
    places = dialogues.places(dialogues.rows(torch.tensor([1, 0])))
    assert places.dialogue.tolist() == [0, 0, 1, 1, 1]
    assert places.place.tolist() == [0, 1, 0, 1, 2]
    assert (places.count, places.longest) == (2, 3)
    x = torch.arange(10.0).view(5, 2)
    assert torch.equal(places.unpad(places.pad(x)), x)
    assert places.pad(x)[0, 2].tolist() == [0, 0]


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=30), st.integers(1, 10))
def test_groups_hold_every_utterance_once_and_never_split_a_dialogue(names: list[str | None], size: int) -> None:
    dialogues = Dialogues.of(names)
    groups = list(dialogues.split(size))
    assert sorted(torch.cat(groups).tolist()) == list(range(len(names)))
    homes = [set(dialogues.number[group].tolist()) for group in groups]
    assert sum(map(len, homes)) == len(dialogues)
    for group, home in zip(groups, homes, strict=True):
        assert len(group) <= size or len(home) == 1
