"""Exchanges: attempts, streaming into a sink, single-flight, and the prompt cache around them."""
