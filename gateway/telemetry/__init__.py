"""Logs, metrics and monitors."""
