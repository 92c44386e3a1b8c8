"""Image classification on frozen or fine-tuned features."""
