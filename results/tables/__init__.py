"""Table specifications, filled with records and printed."""
