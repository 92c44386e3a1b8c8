"""What every stage shares: records, exchange files, configs, tasks, run directories."""
