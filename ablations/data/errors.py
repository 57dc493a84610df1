"""What is wrong with data, in one line each. Imports nothing, so that planning may read it."""


class DataError(Exception):
    """The data are missing, damaged or not what they claim to be. One line: what, and what to do."""


class NotThereError(DataError):
    """There are no data where they were looked for, or no room for them."""


class UnfitError(DataError):
    """The data are whole, but not what was asked for."""
