"""What is remembered: the journal of events, the tables that follow from it, and who reads along."""
