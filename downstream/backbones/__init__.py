"""From what the user names to features: sources, tensor names, the exchange file, timm models."""
