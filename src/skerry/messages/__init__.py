"""What is said: commands, queries and events, their envelopes and their bytes."""
