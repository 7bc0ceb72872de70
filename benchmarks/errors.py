class NotMeasurable(Exception):
    """Something is missing on this machine. The message says what, and how to get it."""
