"""Converters between Anthropic's Messages and the wire formats of upstreams, one room a format."""
