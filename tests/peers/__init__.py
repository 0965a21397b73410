"""Real engines on our runtime; first on runc, so that a failing test is known to be ours."""
