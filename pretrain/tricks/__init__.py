"""One trick per file, one pure function per trick."""
