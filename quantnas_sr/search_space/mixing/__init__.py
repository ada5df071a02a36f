"""Mixed layers, which fill the slots of a supernet, with their bit mixers and selectors."""
