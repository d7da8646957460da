"""Message threads: conversations that the gateway holds, so that a turn's request carries its new messages only."""
