"""Files of images: folders, arrays, TFDS, ImageNet; read, checked and prepared."""
