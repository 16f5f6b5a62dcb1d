"""The shared training core: one iterator that trains, whoever calls it prunes and logs."""
