"""Tables, figures and the page of a report, and the sentences that describe a system in them.

Only this package uses Jinja and, with `search`, matplotlib.

Not here: numbers, which `analysis` computes, and printing, which `commands` do.
"""
