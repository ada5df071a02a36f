"""What fills a slot of a supernet: a mixed layer, its bit mixers, its selectors."""
