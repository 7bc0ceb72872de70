"""The emulated AWS: ministack behind an ASGI layer that fills the gaps Chalice and exports need.

`python -m sandbox.emulator` is the process; `sandbox.emulator.layer` is what it adds to ministack.
"""
