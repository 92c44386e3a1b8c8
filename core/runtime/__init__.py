"""What a long run needs: processes, signals, random numbers, tracking, resume states."""
