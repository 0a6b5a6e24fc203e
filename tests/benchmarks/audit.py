"""What the audit of a corpus of IEMOCAP's size takes, and how much of it the search for leaks.

python -m tests.benchmarks.audit [--utterances 5531]
"""

import argparse
import time
import tracemalloc

from ifmmin.data.audit import audit
from ifmmin.data.leaks import find_leaks
from ifmmin.data.synthesis import synthesise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=5531)
    options = parser.parse_args()
    corpus = synthesise("iemocap-sized", utterances=options.utterances)
    for what, compute in (("The audit", audit), ("The search for leaks in it", find_leaks)):
        start = time.perf_counter()
        compute(corpus)
        print(f"{what} took {time.perf_counter() - start:.1f} s.")
    tracemalloc.start()
    find_leaks(corpus)
    print(f"The search needs {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MB beside the corpus.")


if __name__ == "__main__":
    main()
