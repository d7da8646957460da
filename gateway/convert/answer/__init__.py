"""From an upstream's answer, whole (`response`) or as it arrives (`stream`), to a message and its events."""
