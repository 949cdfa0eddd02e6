"""Flash sale: units that everybody wants at once, given to whoever comes first, never one too many."""
