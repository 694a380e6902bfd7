"""Ray: the workers that hold a model, and the dispatcher that keeps them busy."""
