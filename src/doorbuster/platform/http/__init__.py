"""HTTP: problems, tokens, raw routes, and the small rules that every face keeps."""
