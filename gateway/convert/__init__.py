"""Conversion between Anthropic's Messages and chat completions: pure functions and values, in both directions."""
