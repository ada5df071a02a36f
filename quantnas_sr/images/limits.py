"""How many pixels an image may have. This file imports nothing, so that the help text is fast."""

#: Pixels of the largest image that is read unless a user allows more: the limit of Pillow, a square of 13377.
MOST_PIXELS = 178_956_970
#: Pixels of the largest image that OpenCV decodes; no user can allow more.
OPENCV_PIXELS = 1 << 30
