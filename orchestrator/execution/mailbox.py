"""The mailbox in which workers leave messages for the driver; it runs in a process that must not load PyTorch."""

import pickle
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from ifmmin.model.history import Epoch

Message = tuple[str, "Epoch | None"]
"""Key of a stage, and the epoch that has ended, or None when the stage begins."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Mailbox:
    """Holds what workers report until the driver collects it. What it held is lost if its process is killed."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []

    def put(self, message: bytes) -> None:
        """Add a message."""
        self._messages.append(message)

    def collect(self) -> list[bytes]:
        """Remove and return all messages."""
        messages, self._messages = self._messages, []
        return messages


def report(mailbox: Any, key: str, epoch: "Epoch | None") -> None:
    """Leave a message, without waiting."""
    mailbox.put.remote(pickle.dumps((key, epoch)))


def collect(mailbox: Any) -> list["Message"]:
    """Remove and return all messages."""
    return [pickle.loads(message) for message in ray.get(mailbox.collect.remote())]  # written by `report`
