"""mmengine's Runner for detection and segmentation: configs, exact resume, progress."""
