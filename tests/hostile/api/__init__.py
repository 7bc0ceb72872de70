"""Hostile sets, asked for over HTTP."""
