"""What a prompt costs, told without asking anybody: by its size (`estimate`) or read in full (`prompt`)."""
