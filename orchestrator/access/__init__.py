"""Who may call what: keys, tokens, scopes, rates and the audit log, for both faces alike
(docs/security.md).
"""
