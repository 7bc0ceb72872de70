"""What the sandbox tells the person who started it: one message, no traceback."""


class SandboxError(Exception):
    """The sandbox could not start or deploy; the message says why and what to do."""
