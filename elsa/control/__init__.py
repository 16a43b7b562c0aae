"""The AF_UNIX control socket of jobd: protocol, server and client."""
