"""Runtime drivers: `base` says what one is; `docker`, `process` and `fake` are ones."""
