"""Where commands travel and the journal is kept, by technology. Drivers are imported here and nowhere else."""
