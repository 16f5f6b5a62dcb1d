"""Images in, batches out: catalogue, splits, the decoded cache, augmentation, and the sealed test set."""
