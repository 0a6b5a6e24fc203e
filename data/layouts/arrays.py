"""NumPy files, as layouts have them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import CorpusError


def read_array(file: Path) -> NDArray[np.generic]:
    """The array of a file; nothing is unpickled.

    Raises:
        FileNotFoundError: it is missing.
        CorpusError: it is no plain NumPy file.
    """
    try:
        array: NDArray[np.generic] = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{file} is no plain NumPy file ({str(error).splitlines()[0]}); export it again.") from None
    return array
