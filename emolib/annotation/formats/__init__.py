"""Files of texts: read in chunks, written whole or not at all."""
