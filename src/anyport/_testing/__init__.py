"""What stands behind the pytest fixtures: `program` is one that a test uses, `tree` what it has started."""
