"""`wordllama`: a table of vectors of tokens, from the package of that name. The default for text."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.extractors.extractor import Extractor, Features, hash_of, need, packaged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REMEDY = "pip install wordllama"


class WordLlama(Extractor):
    """A vector of 256 numbers for each token, whatever stands around it. Only the package's files are used."""

    name = "wordllama"
    version = "1"
    reads = "text"
    dimension = 256
    licence = "MIT; the table is derived from Meta's Llama 2"
    encoder = "textcnn"
    packages = ("tokenizers", "wordllama")

    def __init__(self) -> None:
        need("tokenizers", "tokenizers", self.name)
        self._table_file = packaged("wordllama", "wordllama/weights/l2_supercat_256.safetensors", REMEDY)
        self._tokens_file = packaged("wordllama", "wordllama/tokenizers/l2_supercat_tokenizer_config.json", REMEDY)
        self.weights = hash_of([self._table_file, self._tokens_file])
        self._loaded: tuple[Tokenizer, Any] | None = None

    def extract(self, clip: Clip) -> Features:
        """A frame for each token; none of a clip without words."""
        tokenizer, table = self._load()
        numbers = tokenizer.encode((clip.text or "").strip(), add_special_tokens=False).ids
        return np.asarray(table[numbers], np.float32).reshape(-1, self.dimension)

    def _load(self) -> "tuple[Tokenizer, Any]":
        if self._loaded is None:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._tokens_file))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            self._loaded = tokenizer, load_file(self._table_file)["embedding.weight"]
        return self._loaded
