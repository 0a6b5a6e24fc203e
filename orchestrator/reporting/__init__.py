"""Tables, figures and the page of a report. Numbers come from `analysis`; nothing is computed here."""
