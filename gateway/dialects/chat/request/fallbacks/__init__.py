"""Second tries: what an upstream has refused is left out or written differently, and asked again."""
