"""An upstream's chat answer, whole (`convert`) or streamed (`stream`), to a message and its events."""
