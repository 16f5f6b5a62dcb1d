"""Learning curves for other tools: event files that TensorBoard and Weights & Biases read, and a CSV."""
