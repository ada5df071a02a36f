"""The checks of a run, one subject each; `quantnas_sr.options.check` calls them."""
