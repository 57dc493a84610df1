"""One file for each thing that a user sets out to do; a function for each verb, whose docstring is its help."""
