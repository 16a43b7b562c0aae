"""The host: which processes live on it, and whether ELSA works on it."""
