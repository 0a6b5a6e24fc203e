"""The one family of exceptions meant for people; the command line prints their message and nothing else."""


class UserError(Exception):
    """Something a person can mend: one sentence that names the file or key, what is wrong, and the remedy."""


class CorpusError(UserError):
    """A corpus, or the layout it is imported from, cannot be used as it is."""
