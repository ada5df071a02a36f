"""Values that users give: what kinds there are, and one line that says why one of them cannot be used."""
