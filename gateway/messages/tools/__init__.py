"""Tools of a request: Anthropic's typed tools as functions, toolsets, and the cache of repeated tool lists."""
