"""Image files: which are read, where they are found, and what is in them. Every command reads images through this.

- `formats`: the formats that can be read here, and their suffixes
- `folders`: the images of a folder, and what of it is left out
- `picture`: an image with its bit depth, its transparency and its metadata
- `bgr`: an image as BasicSR reads it, 8 bits in BGR
"""
