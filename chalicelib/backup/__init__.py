"""Backup sets: exports started, recorded, verified, and assembled into a manifest."""
