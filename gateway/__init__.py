"""Dragoman: Anthropic's API in front of any chat upstream."""

__version__ = "0.1.0"
