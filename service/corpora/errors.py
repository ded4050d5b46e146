"""What can go wrong with a corpus as a whole; what is wrong with one line is reported and stops nothing."""


class CorpusError(Exception):
    """The message is one line for the person who gave the command."""
