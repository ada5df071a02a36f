"""A trained plain network as a ``.tflite``, in integers throughout."""
