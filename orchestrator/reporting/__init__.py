"""Tables, figures and the page of a report, and the sentences that describe a system in them. matplotlib and Jinja are
known here alone.

Not here: numbers, which `analysis` computes, and printing, which `commands` do.
"""
