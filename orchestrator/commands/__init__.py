"""The verbs of the command line, a file each: their options, and what they print. Nothing else prints."""
