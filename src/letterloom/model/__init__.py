"""The transformer, its cache, and the window it sees of a long text."""
