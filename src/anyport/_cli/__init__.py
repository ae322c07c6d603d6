"""The command line: `parser` reads it, `output` writes the answer and everything that is said."""
