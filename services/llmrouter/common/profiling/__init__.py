"""Where a process spends its time, recorded for a while when somebody asks."""
