"""Message Batches: taking them in, keeping them, handing their items to workers, and giving results back."""
