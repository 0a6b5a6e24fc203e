import os

# One thread, as in the stages themselves: tests that share the machine's cores would else wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
