"""Who may do what: passwords, tokens of an OpenID provider, share links. Synchronous, and of no web."""
