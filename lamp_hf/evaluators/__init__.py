"""Networks that judge: they embed motions and texts, to compare generated motions with real ones."""
