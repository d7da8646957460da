"""Chat completions for clients: their requests become Messages requests, and Messages answers become completions."""
