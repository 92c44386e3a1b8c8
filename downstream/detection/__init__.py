"""Object detection with Faster R-CNN, and its datasets."""
