"""Handlers of the admin listener: metrics, status, the prompt cache, and the organization's keys, limits and spend."""
