"""Anthropic Messages upstreams: the client's bytes go out with spans replaced, and the answer comes back as it is.

Neither a request nor an answer is parsed and written again unless something within has to change (`edited`): numbers,
escapes, unknown fields and the order of keys stay what they were.
"""
