"""Message Batches: accept and store them, hand their items to workers, and return results."""
