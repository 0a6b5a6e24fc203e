"""Reading the NumPy files of a layout."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.errors import CorpusError


def read_array(file: Path) -> NDArray[np.generic]:
    """The array in a file; nothing is unpickled.

    Raises:
        FileNotFoundError: it is missing.
        CorpusError: it is not a plain NumPy file.
    """
    try:
        array: NDArray[np.generic] = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(
            f"{file} is not a plain NumPy file ({str(error).splitlines()[0]}); export it again."
        ) from None
    return array
