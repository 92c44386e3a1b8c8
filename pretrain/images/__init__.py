"""From bytes on disk to batches: layouts, datasets, splits, decoding, transforms, loaders."""
