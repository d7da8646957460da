"""An upstream's chat answer, whole (`convert`) or streamed (`stream`), to a message and its events.

`errors/` converts failures, `calls/` reads tool calls, `filters/` look at text before it becomes blocks.
"""
