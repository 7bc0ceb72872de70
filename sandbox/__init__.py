"""The embedded AWS for one machine: emulator, resources, deployment. Never deployed itself."""
