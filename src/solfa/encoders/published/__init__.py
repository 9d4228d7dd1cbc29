"""Networks that others published, each a module that ``registry.toml`` names, as any package's entry does."""
