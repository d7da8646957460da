"""Handlers of the admin listener."""
