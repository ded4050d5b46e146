"""Who may call and over what connection: tokens, scopes, TLS. It knows neither models nor translation."""
