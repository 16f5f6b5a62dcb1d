"""What is trained, and how: model families, their configurations, and the shared training core."""
