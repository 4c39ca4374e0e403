"""Who somebody is: logins with roles, passwords and PINs, access tokens, and what wrong attempts cost."""
