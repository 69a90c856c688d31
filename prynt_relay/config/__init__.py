"""The configuration: TOML and environment in, one frozen `Config` out."""
