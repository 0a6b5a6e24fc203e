"""Makes `mycorpus`, a corpus of random features in the layout of tables and arrays."""

import csv
from pathlib import Path

import numpy as np

FEATURES = {"a": 20, "v": 30, "t": 40}
CLASSES = ("angry", "happy", "neutral", "sad")

root = Path("mycorpus")
rng = np.random.default_rng(0)
centres = {modality: rng.normal(size=(len(CLASSES), size)) for modality, size in FEATURES.items()}
rows = []
for number in range(120):
    name, label = f"utterance{number:03}", number % len(CLASSES)
    rows.append({"utterance": name, "label": CLASSES[label], "speaker": f"speaker{number % 6}"})
    for modality, size in FEATURES.items():
        folder = root / modality
        folder.mkdir(parents=True, exist_ok=True)
        steps = int(rng.integers(5, 20))
        np.save(folder / f"{name}.npy", centres[modality][label] + rng.normal(size=(steps, size)))

with (root / "utterances.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
